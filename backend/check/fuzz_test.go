package check_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// A store keeps what NewJobs accepts as it is. Everything else is an ErrInvalid.
func FuzzNewJobs(f *testing.F) {
	f.Add("a", []byte("{}"), 1, int64(0), int64(0), "", "", uint8(0), int64(0), []byte(nil))
	f.Add("", []byte(nil), 0, int64(-1), int64(1), "k", "s", uint8(7), int64(1), []byte("m"))
	f.Add("\x00", []byte("\xff\x00"), -1, int64(1)<<62, int64(-1), "\xff", "\x00", uint8(5), int64(-1), []byte("\x00"))
	f.Add("é", []byte(nil), 25, int64(time.Hour), int64(time.Minute), "key", "", uint8(1), int64(0), []byte(nil))
	f.Fuzz(func(t *testing.T, name string, payload []byte, attempts int, delay, expires int64, unique, serial string, how uint8, hold int64, metadata []byte) {
		n := backend.NewJob{
			Name: name, Payload: payload, MaxAttempts: attempts, Delay: time.Duration(delay), Expires: time.Duration(expires),
			Unique: backend.Unique{
				Key: unique, Scope: backend.Scope(how % 3), Conflict: backend.Conflict(how / 3 % 4), For: time.Duration(hold),
			},
			Serial: serial, Metadata: metadata,
		}
		b := memory.New(nil)
		defer b.Close()
		checked := check.NewJobs([]backend.NewJob{n})
		pushed, err := b.Push(t.Context(), []backend.NewJob{n})
		if checked != nil {
			if !errors.Is(checked, backend.ErrInvalid) || !errors.Is(err, backend.ErrInvalid) {
				t.Errorf("NewJobs: %v; Push: %v", checked, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := b.Get(t.Context(), pushed[0].ID)
		if err != nil || info.Name != name || !bytes.Equal(info.Payload, payload) || info.MaxAttempts != attempts ||
			info.UniqueKey != unique || info.SerialKey != serial || !bytes.Equal(info.Metadata, metadata) {
			t.Errorf("pushed %+v, stored %+v, %v", n, info, err)
		}
		if info.RunAt.Before(info.CreatedAt) || delay > 1000 && info.State != backend.Scheduled {
			t.Errorf("pushed with a delay of %d: %+v", delay, info)
		}
	})
}
