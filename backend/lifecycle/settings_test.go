package lifecycle_test

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// What applies does not depend on the order of the workers, and bounds at least as much as
// each of them.
func TestStrictest(t *testing.T) {
	h := backend.History{Done: time.Hour, Failed: 2 * time.Hour, Rows: 10}
	random := rand.New(rand.NewPCG(1, 2))
	one := func(of ...int) int { return of[random.IntN(len(of))] }
	for range 10_000 {
		all := make([]backend.Settings, 1+random.IntN(4))
		for i := range all {
			s := backend.Settings{
				Name: "a", MaxRunning: one(0, 1, 5), MaxCrashes: one(-1, 0, 2, 20),
				History: backend.History{
					Done: time.Duration(one(-1, 0, 1, 2)) * time.Hour, Failed: time.Duration(one(-1, 0, 1, 3)) * time.Hour, Rows: one(-1, 0, 5, 20),
				},
			}
			if s.Rate = one(0, 10, 20, 100); s.Rate > 0 {
				s.Per = time.Duration(one(1, 2, 60)) * time.Second
			}
			all[i] = s
		}
		got, differ := lifecycle.Strictest(all, h)
		for _, s := range all {
			if s.MaxRunning > 0 && (got.MaxRunning == 0 || got.MaxRunning > s.MaxRunning) ||
				s.Rate > 0 && (got.Rate == 0 || got.Rate*int(s.Per) > s.Rate*int(got.Per)) ||
				lifecycle.Condemns(s, 5) && !lifecycle.Condemns(got, 5) ||
				lifecycle.HistoryOf(got, h).Done < lifecycle.HistoryOf(s, h).Done || lifecycle.HistoryOf(got, h).Failed < lifecycle.HistoryOf(s, h).Failed {
				t.Fatalf("Strictest(%+v) = %+v", all, got)
			}
			if rows := lifecycle.HistoryOf(got, h).Rows; rows >= 0 && (lifecycle.HistoryOf(s, h).Rows < 0 || rows < lifecycle.HistoryOf(s, h).Rows) {
				t.Fatalf("Strictest(%+v) = %+v, with %d rows", all, got, rows)
			}
			if s != all[0] && !differ {
				t.Fatalf("Strictest(%+v) does not say that they differ", all)
			}
		}
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		again, _ := lifecycle.Strictest(all, h)
		if lifecycle.HistoryOf(again, h) != lifecycle.HistoryOf(got, h) || again.MaxRunning != got.MaxRunning || again.Rate != got.Rate || again.Per != got.Per {
			t.Fatalf("in another order %+v is %+v, and was %+v", all, again, got)
		}
	}
}

// A worker without settings for a name that it knows defines that nothing is bounded; one that does
// not know the name defines nothing.
func TestDefined(t *testing.T) {
	limits := lifecycle.NewDefiner([]string{"a"}, []backend.Settings{{Name: "a", MaxRunning: 1}})
	knows := lifecycle.NewDefiner([]string{"a", "b"}, nil)
	for _, c := range []struct {
		name          string
		all           []lifecycle.Definer
		most          int
		differ, known bool
	}{
		{"a", []lifecycle.Definer{limits}, 1, false, true},
		{"a", []lifecycle.Definer{knows, limits}, 1, true, true},
		{"a", []lifecycle.Definer{knows}, 0, false, true},
		{"b", []lifecycle.Definer{limits}, 0, false, false},
		{"a", nil, 0, false, false},
	} {
		s, differ, known := lifecycle.Defined(c.name, c.all, backend.History{})
		if s.MaxRunning != c.most || differ != c.differ || known != c.known {
			t.Errorf("Defined(%q, %+v) = %+v, %v, %v", c.name, c.all, s, differ, known)
		}
	}
}

func TestOverridden(t *testing.T) {
	now := time.Unix(1, 0).UTC()
	first := lifecycle.ChangeOverride(backend.Override{}, backend.Override{Settings: backend.Settings{Name: "a", MaxRunning: -1}, By: "ann"}, false, now)
	second := lifecycle.ChangeOverride(first, backend.Override{Settings: backend.Settings{Name: "a", Rate: 5, Per: time.Second}, By: "bob"}, false, now.Add(1))
	defined := backend.Settings{Name: "a", MaxRunning: 3, MaxCrashes: 4}
	if got, want := lifecycle.Overridden(defined, second), (backend.Settings{Name: "a", Rate: 5, Per: time.Second, MaxCrashes: 4}); got != want || second.By != "bob" || !second.At.Equal(now.Add(1)) {
		t.Errorf("Overridden by %+v is %+v, want %+v", second, got, want)
	}
	imported := backend.Override{Settings: backend.Settings{Name: "a", Rate: 5, Per: time.Second}, By: "eve", At: now.Add(-time.Hour)}
	if got := lifecycle.ChangeOverride(second, imported, true, now.Add(1)); !reflect.DeepEqual(got, imported) {
		t.Errorf("the imported override is %+v, want %+v", got, imported)
	}
	if got := lifecycle.ChangeOverride(second, backend.Override{Settings: backend.Settings{Name: "a"}}, true, now); !reflect.DeepEqual(got, backend.Override{}) {
		t.Errorf("the reset override is %+v", got)
	}
}
