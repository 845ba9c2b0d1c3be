package sqlstore

import (
	"cmp"
	"math"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A Class is the jobs of one name in one terminal state.
type Class struct {
	Name  string
	State backend.State
	Jobs  int   // number of jobs
	Until int64 // the retention of jobs that finished by then has ended
	past  int   // number of those found
}

// An OldJob is a finished job that is to be deleted.
type OldJob struct {
	Class        int // its index
	ID, Finished int64
}

// FindOld returns at most limit finished jobs to delete, the oldest of each class first: jobs
// whose retention has ended, then jobs beyond a name's maximum of rows, which is negative if
// there is none. The classes are ordered by name. The function oldest returns the oldest jobs
// of each class, at most limit in all.
func FindOld(all []Class, limit int, rows func(name string) int, oldest func([]Class, int) ([]OldJob, error)) ([]OldJob, error) {
	if len(all) == 0 {
		return nil, nil
	}
	old, err := oldest(all, limit)
	if err != nil {
		return nil, err
	}
	for _, o := range old {
		all[o.Class].past++
	}
	for len(all) > 0 && len(old) < limit {
		name, n := all[0].Name, slices.IndexFunc(all, func(c Class) bool { return c.Name != all[0].Name })
		if n < 0 {
			n = len(all)
		}
		some, err := surplus(all[:n], rows(name), limit-len(old), oldest)
		if err != nil {
			return nil, err
		}
		old, all = append(old, some...), all[n:]
	}
	return old, nil
}

// surplus returns the oldest finished jobs of a name beyond its maximum of rows, without the
// jobs whose retention has ended.
func surplus(classes []Class, rows, limit int, oldest func([]Class, int) ([]OldJob, error)) ([]OldJob, error) {
	left := 0
	for _, c := range classes {
		left += c.Jobs - c.past
	}
	surplus := min(left-rows, limit)
	if rows < 0 || surplus <= 0 {
		return nil, nil
	}
	var found []OldJob
	for _, c := range classes {
		c.Until = math.MaxInt64
		some, err := oldest([]Class{c}, c.past+surplus)
		if err != nil {
			return nil, err
		}
		found = append(found, some[min(c.past, len(some)):]...)
	}
	slices.SortFunc(found, func(a, b OldJob) int { return cmp.Or(cmp.Compare(a.Finished, b.Finished), cmp.Compare(a.ID, b.ID)) })
	return found[:min(surplus, len(found))], nil
}

// Measure returns the names of classes, and their finished jobs. Classes of one name follow each
// other. size returns the average bytes of a job's data in a sample of a class; it is
// called only for names that bytes bound.
func Measure(classes []Class, historyOf func(name string) backend.History, size func(Class) (float64, error)) (names []string, all []lifecycle.Finished, err error) {
	for _, c := range classes {
		if len(names) == 0 || names[len(names)-1] != c.Name {
			names = append(names, c.Name)
			all = append(all, lifecycle.Finished{History: historyOf(c.Name)})
		}
		f := &all[len(all)-1]
		sum := f.Size * float64(f.Jobs)
		if lifecycle.Measured(f.History) {
			average, err := size(c)
			if err != nil {
				return nil, nil, err
			}
			sum += float64(c.Jobs) * average
		}
		f.Jobs += c.Jobs
		f.Size = sum / float64(max(f.Jobs, 1))
	}
	return names, all, nil
}

// Bounds returns how many finished jobs each name keeps, or -1 for no bound; see [Measure].
func Bounds(classes []Class, historyOf func(name string) backend.History, size func(Class) (float64, error)) (func(name string) int, error) {
	names, all, err := Measure(classes, historyOf, size)
	if err != nil {
		return nil, err
	}
	bounds := make(map[string]int, len(names))
	for i, most := range lifecycle.Bounds(all) {
		bounds[names[i]] = most
	}
	return func(name string) int { return bounds[name] }, nil
}
