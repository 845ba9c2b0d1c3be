package torture

import (
	"errors"
	"io"
	"testing"
)

// check ends a test where it is called, and Run returns its error.
func TestCheck(t *testing.T) {
	cause := errors.New("cause")
	test := &Test{ID: "check", Only: Source, run: func(r *rig) {
		r.result.faultf("found")
		check(cause)
		r.result.faultf("never found")
	}}
	r, err := test.Run(t.Context(), Config{Driver: Source, Dir: t.TempDir(), Out: io.Discard, Programs: NewPrograms(t.TempDir())})
	if !errors.Is(err, cause) || len(r.Faults) != 1 {
		t.Errorf("Run = %v, %v; want one fault and %v", r.Faults, err, cause)
	}
	if err := try(func() { must(1, nil) }); err != nil {
		t.Errorf("try without an error = %v", err)
	}
}
