package child

import (
	"slices"
	"time"
)

// A Latency is how long something took, in microseconds.
type Latency struct{ P50, P95, P99, Max float64 }

// percentiles returns the nearest ranks of samples, nil if there are none.
func percentiles(samples []time.Duration) *Latency {
	if len(samples) == 0 {
		return nil
	}
	samples = slices.Sorted(slices.Values(samples))
	at := func(percent int) float64 {
		i := (len(samples)*percent+99)/100 - 1
		return float64(samples[max(i, 0)].Nanoseconds()) / 1000
	}
	return &Latency{at(50), at(95), at(99), at(100)}
}
