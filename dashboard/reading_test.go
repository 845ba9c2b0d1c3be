package dashboard

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A reading that takes long is shared, and pages show the last answer meanwhile.
func TestReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads, takes := 0, time.Second
		var fails error
		r := reading[int]{read: func(context.Context) (int, error) {
			reads++
			n := reads
			time.Sleep(takes)
			return n, fails
		}}
		get := func(wantValue int, wantTook time.Duration, wantErr error) {
			t.Helper()
			begin := time.Now()
			got, err := r.get(t.Context(), 0)
			if took := time.Since(begin); got != wantValue || took != wantTook || !errors.Is(err, wantErr) {
				t.Errorf("the answer is %d, %v after %v, want %d, %v after %v", got, err, took, wantValue, wantErr, wantTook)
			}
		}
		done := make(chan int)
		go func() { n, _ := r.get(t.Context(), 0); done <- n }()
		get(1, time.Second, nil)
		if n := <-done; n != 1 || reads != 1 {
			t.Errorf("two pages made %d reads, and one has the answer %d", reads, n)
		}
		time.Sleep(20 * time.Second)
		get(1, 0, nil)
		time.Sleep(30 * time.Second)
		get(1, staleWait, nil)
		time.Sleep(time.Second)
		get(2, 0, nil)
		takes, fails = time.Millisecond, errors.New("no")
		time.Sleep(time.Minute)
		get(3, time.Millisecond, fails)
		fails = nil
		time.Sleep(time.Second)
		get(4, time.Millisecond, nil)
	})
}
