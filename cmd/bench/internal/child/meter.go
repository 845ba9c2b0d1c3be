package child

import (
	"os"
	"runtime"
	"runtime/pprof"
	"time"
)

// A meter measures what goes on between begin and end.
type meter struct {
	profile *os.File
	mallocs uint64
	written int64
	start   time.Time
}

// begin starts the clock, after a garbage collection.
func begin(o Order) (*meter, error) {
	m := &meter{}
	if o.CPUProfile != "" {
		f, err := os.Create(o.CPUProfile)
		if err != nil {
			return nil, err
		}
		m.profile = f
	}
	runtime.GC()
	if m.profile != nil {
		if err := pprof.StartCPUProfile(m.profile); err != nil {
			return nil, err
		}
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m.mallocs, m.written = stats.Mallocs, procIO("wchar")
	m.start = time.Now()
	return m, nil
}

// end stops the clock. It returns the time, and the allocations and bytes per
// job.
func (m *meter) end(jobs int) (time.Duration, Measures, error) {
	elapsed := time.Since(m.start)
	written := procIO("wchar")
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	var s Measures
	s.Allocs = ratio(float64(stats.Mallocs-m.mallocs), float64(jobs))
	if m.written >= 0 {
		s.Bytes = ratio(float64(written-m.written), float64(jobs))
	}
	if m.profile != nil {
		pprof.StopCPUProfile()
		return elapsed, s, m.profile.Close()
	}
	return elapsed, s, nil
}

func ratio(a, b float64) *float64 {
	r := a / b
	return &r
}
