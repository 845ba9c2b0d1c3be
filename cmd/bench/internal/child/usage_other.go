//go:build !unix

package child

import "time"

func usage() (cpu time.Duration, wakeups int64, ok bool) { return 0, 0, false }
