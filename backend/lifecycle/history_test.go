package lifecycle_test

import (
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

func TestHistory(t *testing.T) {
	h, err := lifecycle.ResolveHistory(backend.History{})
	if err != nil || h.Done != 7*24*time.Hour || h.Failed != 30*24*time.Hour || h.Rows != 1_000_000 {
		t.Errorf("the defaults are %+v, %v", h, err)
	}
	if lifecycle.Retention(h, backend.Done) != h.Done || lifecycle.Retention(h, backend.Failed) != h.Failed || lifecycle.Retention(h, backend.Cancelled) != h.Failed {
		t.Errorf("keeps are %v %v %v", lifecycle.Retention(h, backend.Done), lifecycle.Retention(h, backend.Failed), lifecycle.Retention(h, backend.Cancelled))
	}
}
