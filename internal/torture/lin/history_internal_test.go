package lin

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend"
)

// A claim may be called before the push of the job that it finds. An operation
// that returned between the two calls did not change the job.
func TestClaimAskedBeforePush(t *testing.T) {
	h := history{ops: []op{
		{kind: opReap, workers: []int64{7}, call: 10, ret: 30},
		{kind: opClaim, id: 1, number: 1, worker: 8, token: 100, attempt: 1, call: 20, ret: 60},
		{kind: opPush, id: 1, number: 1, call: 40, ret: 50},
		{kind: opClaim, worker: 7, unknown: true, call: 55, ret: 70},
		{kind: opComplete, id: 1, token: 100, call: 80, ret: 90},
		{kind: opRead, id: 1, seen: seen{state: backend.Done}, call: 100, ret: 110},
	}}
	if r := h.judge(); r.Illegal != 0 || len(r.Faults) != 0 {
		t.Errorf("illegal is %d: %q", r.Illegal, r.Faults)
	}
	h.ops[4].lost = true
	if r := h.judge(); r.Illegal != 1 {
		t.Errorf("a lease that no worker took was lost, and illegal is %d", r.Illegal)
	}
}
