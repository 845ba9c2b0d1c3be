package child

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// A Sweep counts the results of cancelling a method at each of its driver
// calls.
type Sweep struct {
	Calls  int // driver calls of the method when it is not cancelled
	Runs   int
	Nils   int // runs that succeeded all the same
	Errors int
	// The rest is what is wrong.
	Missing    int // returned nil, and had no effect
	Partial    int // returned an error, and had part of its effect
	Broken     int // the store or its pools do not work afterwards
	WrongError int // returned an error that is not the context's
	Faults     []string
}

func (s *Sweep) wrong(n *int, format string, args ...any) {
	*n++
	if len(s.Faults) < 10 {
		s.Faults = append(s.Faults, fmt.Sprintf(format, args...))
	}
}

// A sweeper sweeps methods.
type sweeper struct {
	*server
	dir      string
	borrowed bool
	files    []byte // of the database
	scene    *scene
	n        int
	Sweep
}

// sweep cancels a method before and after each of its driver calls, on a store
// with a file and on one that borrows the application's connections.
func (s *server) sweep(name string, stride, offset int) (sum Sweep, err error) {
	dir, err := os.MkdirTemp(filepath.Dir(s.Path), "cancel-")
	if err != nil {
		return sum, err
	}
	defer os.RemoveAll(dir)
	for i := range methods {
		if methods[i].name != name {
			continue
		}
		for _, borrowed := range []bool{false, true} {
			w := &sweeper{server: s, dir: dir, borrowed: borrowed}
			if err := w.method(&methods[i], stride, offset); err != nil {
				return sum, fmt.Errorf("%s: %w", name, err)
			}
			sum.Add(w.Sweep)
		}
		return sum, nil
	}
	return sum, fmt.Errorf("there is no method %q", name)
}

// Add adds the results of another sweep.
func (s *Sweep) Add(o Sweep) {
	s.Calls += o.Calls
	s.Runs += o.Runs
	s.Nils += o.Nils
	s.Errors += o.Errors
	s.Missing += o.Missing
	s.Partial += o.Partial
	s.Broken += o.Broken
	s.WrongError += o.WrongError
	s.Faults = append(s.Faults, o.Faults...)
}

// method sweeps one method.
func (w *sweeper) method(m *method, stride, offset int) error {
	b, err := w.bench(m)
	if err != nil {
		return err
	}
	before, err := b.dump()
	if err != nil {
		return err
	}
	var want, after string
	if m.endless == 0 {
		result, err := m.call(b.arm(0, false), b)
		w.Calls = b.disarm()
		if err != nil {
			return fmt.Errorf("without being cancelled: %w", err)
		}
		want = text(result)
		if after, err = b.dump(); err != nil {
			return err
		}
	} else {
		w.Calls, after = m.endless, before
	}
	if err := b.close(); err != nil {
		return err
	}
	for k := 1 + offset%stride; k <= w.Calls; k += stride {
		for _, late := range []bool{false, true} {
			if b, err = w.bench(m); err != nil {
				return err
			}
			w.one(m, b, k, late, before, after, want)
			if err := b.close(); err != nil {
				w.wrong(&w.Broken, "%s: closing: %v", m.name, err)
			}
		}
	}
	return nil
}

// one cancels a method once.
func (w *sweeper) one(m *method, b *bench, k int, late bool, before, after, want string) {
	ctx := b.arm(k, late)
	result, err := m.call(ctx, b)
	ended := ctx.Err()
	b.disarm()
	what := fmt.Sprintf("%s cancelled before call %d", m.name, k)
	if late {
		what = fmt.Sprintf("%s cancelled after call %d", m.name, k)
	}
	if b.borrowed {
		what += " (borrowed)"
	}
	w.Runs++
	is, dumpErr := b.dump()
	if dumpErr != nil {
		w.wrong(&w.Broken, "%s: the database cannot be read: %v", what, dumpErr)
		return
	}
	if err == nil {
		w.Nils++
		if is != after || text(result) != want {
			w.wrong(&w.Missing, "%s: returned nil without its effect: %s, want %s; %s", what, text(result), want, firstDifference(is, after))
		}
	} else {
		w.Errors++
		if is != before && is != after {
			w.wrong(&w.Partial, "%s: %v and %s", what, err, firstDifference(is, before))
		}
		if ended == nil || !errors.Is(err, ended) {
			w.wrong(&w.WrongError, "%s: %v, want %v", what, err, ended)
		}
	}
	if err := b.healthy(); err != nil {
		w.wrong(&w.Broken, "%s: %v", what, err)
	}
}

var randomToken = regexp.MustCompile(`"Token":[0-9]+`)

// text returns a result in the form in which results are compared.
func text(result any) string {
	t, err := json.Marshal(result)
	if err != nil {
		return err.Error()
	}
	return randomToken.ReplaceAllString(string(t), `"Token":0`)
}
