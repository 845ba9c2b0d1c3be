package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/encrypt"
	"github.com/plainjobs/plainjobs/worker"
)

// An error of a handler is neither stored nor logged in clear, even if it matches ErrUnavailable.
func TestHandlersUnavailableEncrypted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), &plainjobs.Options{Codec: keys(t, nil, "k"), EncryptErrors: true})
		jobs := bind(q, jobStored, func(_ context.Context, data string) error {
			return fmt.Errorf("card %s: %w", data, encrypt.ErrUnavailable)
		})
		id, err := q.Perform(t.Context(), jobStored.With(secret))
		if err != nil {
			t.Fatal(err)
		}
		var log lockedBuffer
		stop := start(t, q, worker.Options{Jobs: jobs, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		time.Sleep(time.Second)
		mustStop(t, stop)
		info, err := q.Get(t.Context(), id)
		if err != nil || len(info.Errors) != 1 || strings.Contains(info.Errors[0].Error, secret) {
			t.Errorf("the job is %+v, %v", info, err)
		}
		if strings.Contains(log.String(), secret) || !strings.Contains(log.String(), "waits") {
			t.Errorf("the log has %s", log.String())
		}
		if info, err = q.Decrypt(info); err != nil || len(info.Errors) != 1 || !strings.Contains(info.Errors[0].Error, "card "+secret) {
			t.Errorf("decrypted it is %+v, %v", info, err)
		}
	})
}

// The stored definition of a schedule does not depend on a payload that is encrypted.
func TestDefinitionEncrypted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		definition := func(data string) string {
			b := memory.New(nil)
			q := plainjobs.New(b, &plainjobs.Options{Codec: keys(t, nil, "k")})
			if err := q.Schedule("own", "@hourly", jobStored.With(data)); err != nil {
				t.Fatal(err)
			}
			jobs, _ := storedRuns(q)
			stop := start(t, q, worker.Options{Jobs: jobs})
			time.Sleep(time.Second)
			mustStop(t, stop)
			all, err := b.Schedules(t.Context())
			if err != nil || len(all.Schedules) != 1 {
				t.Fatalf("the schedules are %+v, %v", all, err)
			}
			return all.Schedules[0].Definition
		}
		if one, two := definition("1"), definition("2"); one != two {
			t.Errorf("the definitions are %s and %s", one, two)
		}
	})
}
