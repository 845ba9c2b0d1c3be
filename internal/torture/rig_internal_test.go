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

// A worker releases a lease whose claim did not return, once heartbeats have found it.
func TestUnreturnedClaim(t *testing.T) {
	for _, test := range []struct {
		ledger string
		faults int
		bad    bool
	}{
		{"c 1 50 7 1 0 1\ns 2 50 done\na 3 50 done 2\n", 0, false},
		{"s 2 51 release\na 3 51 release 2\nz 4 51 refused\n", 0, false},
		{"s 2 51 release\nl 3 51\nz 4 51 accepted\n", 1, false},
		{"s 2 51 done\n", 0, true},
		// The worker releases a lease whose claim returns meanwhile, and completes it.
		{"c 1 50 7 1 0 1\ns 2 50 release\ns 3 50 done\nl 4 50\nz 5 50 refused\na 6 50 release 2\n", 0, false},
		{"c 1 50 7 1 0 1\ns 2 50 release\ns 3 50 done\na 4 50 release 2\na 5 50 done 3\n", 1, false},
	} {
		h := &history{runs: map[int64]*run{}, unreturned: map[int64]bool{}, left: map[*process]int{}}
		var result Result
		if err := h.read(&process{}, []byte(test.ledger), &result); err != nil != test.bad || len(result.Faults) != test.faults {
			t.Errorf("%q: %v, faults %v", test.ledger, err, result.Faults)
		}
	}
}
