package child

import "github.com/plainjobs/plainjobs/cmd/bench/internal/harness"

// A Latency is how long something took, in microseconds.
type Latency = harness.Latency
