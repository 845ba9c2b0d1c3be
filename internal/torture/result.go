package torture

import (
	"fmt"
	"strings"
	"time"
)

// A Result is what a test measured and found.
type Result struct {
	Test, Driver string
	Seed         uint64
	// Faults describe what is wrong, one by one.
	Faults []string
	// LeftOut lists the parts of the test that could not run here, with
	// reasons.
	LeftOut []string

	fields []field
}

type field struct{ key, value string }

// add appends a figure.
func (r *Result) add(key string, value any) {
	if d, ok := value.(time.Duration); ok {
		value = d.Round(time.Millisecond)
	}
	r.fields = append(r.fields, field{key, fmt.Sprint(value)})
}

// must appends a figure that is a fault unless it is zero.
func (r *Result) must(key string, n int) {
	r.add(key, n)
	if n != 0 {
		r.faultf("%s is %d, want 0", key, n)
	}
}

// maxFaults bounds the number of faults that are listed.
const maxFaults = 50

func (r *Result) faultf(format string, args ...any) {
	if len(r.Faults) < maxFaults {
		r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
	}
}

// leaveOut records a part that cannot run here.
func (r *Result) leaveOut(part string, why *Skip) {
	r.LeftOut = append(r.LeftOut, fmt.Sprintf("%s: %v", part, why))
}

// String returns one line of key=value pairs.
func (r Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "test=%s driver=%s seed=%d", r.Test, r.Driver, r.Seed)
	for _, f := range r.fields {
		fmt.Fprintf(&b, " %s=%s", f.key, f.value)
	}
	fmt.Fprintf(&b, " wrong=%d", len(r.Faults))
	return b.String()
}

// Figures returns the figures as key=value pairs.
func (r Result) Figures() string {
	parts := make([]string, 0, len(r.fields))
	for _, f := range r.fields {
		parts = append(parts, f.key+"="+f.value)
	}
	return strings.Join(parts, " ")
}
