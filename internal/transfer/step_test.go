package transfer_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

var stepStores = []string{"memory", "sqlite"}

// Steps and signals are exported, imported and moved, and jobs that wait go on waiting.
func TestSteps(t *testing.T) {
	signal := plainjobs.DefineSignal[string]("go")
	for _, from := range stepStores {
		for _, to := range stepStores {
			for _, how := range []string{"export", "move"} {
				t.Run(how+" "+from+" to "+to, func(t *testing.T) {
					ctx := t.Context()
					q, source := newStore(t, from)
					other, target := newStore(t, to)
					id, err := q.Perform(ctx, row.With(1))
					if err != nil {
						t.Fatal(err)
					}
					jobs, err := source.Claim(ctx, backend.ClaimRequest{Worker: backend.Worker{ID: 9, Lease: time.Hour}, Register: true, Names: []string{"group/row"}, Limit: 1})
					if err != nil || len(jobs) != 1 {
						t.Fatal(jobs, err)
					}
					key := backend.SignalKey{Name: "go", Key: "k"}
					_, err = source.Fail(ctx, []backend.Failure{{Lease: jobs[0].Lease, Ending: backend.EndSleep, Delay: time.Hour, Step: backend.Step{Name: "s", Result: []byte{0, 255}}, Signal: key}})
					if err != nil {
						t.Fatal(err)
					}
					if err := signal.Send(ctx, q, "other", "early"); err != nil {
						t.Fatal(err)
					}
					var sum plainjobs.Transfer
					if how == "move" {
						if sum, err = q.MoveTo(ctx, other, nil); err == nil {
							err = other.Resume(ctx, "")
						}
					} else {
						var b bytes.Buffer
						if _, err = q.Export(ctx, &b, plainjobs.Filter{}); err == nil {
							sum, err = other.Import(ctx, strings.NewReader(b.String()))
						}
					}
					if err != nil || sum.Signals != 1 {
						t.Fatalf("%+v, %v", sum, err)
					}
					steps, err := other.Steps(ctx, id)
					if err != nil || len(steps) != 1 || !bytes.Equal(steps[0].Result, []byte{0, 255}) {
						t.Errorf("the steps are %+v, %v", steps, err)
					}
					if err := signal.Send(ctx, other, "other", "late"); err == nil {
						t.Error("the signal was not transferred")
					}
					if err := signal.Send(ctx, other, "k", "now"); err != nil {
						t.Fatal(err)
					}
					if info, err := target.(backend.Reader).Get(ctx, id); err != nil || info.State != backend.Pending {
						t.Errorf("the job is %v, %v; want pending", info.State, err)
					}
				})
			}
		}
	}
}
