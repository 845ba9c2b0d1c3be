package jsonrow

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

func TestStoredJob(t *testing.T) {
	for _, want := range []backend.NewJob{
		{Name: "a", MaxAttempts: 1},
		{
			Name: "a", Payload: []byte("{\x00\xff"), Priority: -3, MaxAttempts: 4, Delay: time.Second, Expires: time.Hour,
			Unique: backend.Unique{Key: "k", Scope: backend.UntilStarted, For: time.Minute, Conflict: backend.Reject}, Serial: "s", Fair: "f",
			MaxPending: 7, Metadata: []byte("{}"),
		},
	} {
		if got, err := StoredJob(StoredJobText(want)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("StoredJob = %+v, %v, want %+v", got, err, want)
		}
	}
	for _, ids := range [][]int64{nil, {7}, {9, 8, 1 << 60}} {
		if got, err := Runs(RunsText(ids)); err != nil || !slices.Equal(got, ids) {
			t.Errorf("Runs = %v, %v, want %v", got, err, ids)
		}
	}
	_, job := StoredJob("[")
	_, runs := Runs("1,x")
	if !errors.Is(job, backend.ErrCorrupt) || !errors.Is(runs, backend.ErrCorrupt) {
		t.Errorf("damaged texts return %v and %v", job, runs)
	}
}
