package lifecycle

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

// ResolveHistory returns h with the defaults for zeros, or the error of [check.History].
func ResolveHistory(h backend.History) (backend.History, error) {
	return override(h, backend.History{Done: 7 * 24 * time.Hour, Failed: 30 * 24 * time.Hour, Rows: 1_000_000}), check.History(h)
}

// HistoryOf returns the history of a name with settings s in a store with history h.
func HistoryOf(s backend.Settings, h backend.History) backend.History { return override(s.History, h) }

// override returns h with the fields of base for zeros.
func override(h, base backend.History) backend.History {
	return backend.History{
		Done:   cmp.Or(h.Done, base.Done),
		Failed: cmp.Or(h.Failed, base.Failed),
		Rows:   cmp.Or(h.Rows, base.Rows),
		Bytes:  cmp.Or(h.Bytes, base.Bytes),
		Total:  cmp.Or(h.Total, base.Total),

		DropDone:   h.DropDone || base.DropDone,
		DropFailed: h.DropFailed || base.DropFailed,
	}
}

// Drops reports whether h drops the payload of a job that ends in state s.
func Drops(h backend.History, s backend.State) bool {
	if s == backend.Done {
		return h.DropDone
	}
	return s.Terminal() && h.DropFailed
}

// jobOverhead is what a job takes besides its data, in bytes.
const jobOverhead = 200

// A Finished is the finished jobs of one name.
type Finished struct {
	History backend.History // see [HistoryOf]
	Jobs    int
	Size    float64 // the average of a job's data in bytes; only if Measured
}

// Measured reports whether the sizes of jobs are needed to bound them.
func Measured(h backend.History) bool { return h.Bytes > 0 || h.Total > 0 }

// Bounds returns how many finished jobs each name keeps, or -1 for no bound.
func Bounds(all []Finished) []int {
	bounds := make([]int, len(all))
	total, sum := int64(0), 0.0
	for i, f := range all {
		bounds[i] = max(f.History.Rows, -1)
		if f.History.Bytes > 0 {
			n := int(float64(f.History.Bytes) / (f.Size + jobOverhead))
			if bounds[i] < 0 || n < bounds[i] {
				bounds[i] = n
			}
		}
		total = f.History.Total
		sum += float64(kept(f.Jobs, bounds[i])) * (f.Size + jobOverhead)
	}
	if total <= 0 || sum <= float64(total) {
		return bounds
	}
	for i, f := range all {
		bounds[i] = int(float64(kept(f.Jobs, bounds[i])) * float64(total) / sum)
	}
	return bounds
}

// maxShown is how many names BytesText shows.
const maxShown = 3

// BytesText says how many bytes the finished jobs take and what bounds them. The names are those of
// all. The text is empty if nothing bounds their bytes.
func BytesText(names []string, all []Finished) string {
	var parts []string
	total, sum, bounded := int64(0), 0.0, 0
	for i, f := range all {
		size := float64(f.Jobs) * (f.Size + jobOverhead)
		sum += size
		total = f.History.Total
		if f.History.Bytes <= 0 {
			continue
		}
		if bounded++; bounded <= maxShown {
			parts = append(parts, fmt.Sprintf("%s about %s of %s", names[i], megabytes(size), megabytes(float64(f.History.Bytes))))
		}
	}
	if bounded > maxShown {
		parts = append(parts, fmt.Sprintf("%d more names are bounded", bounded-maxShown))
	}
	if total > 0 {
		parts = slices.Insert(parts, 0, fmt.Sprintf("about %s of %s in all", megabytes(sum), megabytes(float64(total))))
	}
	return strings.Join(parts, "; ")
}

func megabytes(n float64) string { return fmt.Sprintf("%.1f MiB", n/(1<<20)) }

// kept returns how many of a number of jobs a bound keeps.
func kept(jobs, bound int) int {
	if bound < 0 {
		return jobs
	}
	return min(jobs, bound)
}

// Retention returns for how long h keeps a job that ends in state s.
func Retention(h backend.History, s backend.State) time.Duration {
	if s == backend.Done {
		return h.Done
	}
	return h.Failed
}
