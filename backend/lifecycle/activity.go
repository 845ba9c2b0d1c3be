package lifecycle

import (
	"cmp"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/histogram"
)

// OldestMinute returns the first minute that a store keeps by the minute at now. Reap merges
// earlier ones by the hour.
func OldestMinute(now time.Time) time.Time {
	return now.Add(-backend.KeepMinutes).Truncate(time.Hour)
}

// TakesActivity reports whether a store takes activity of the minute at a time. It refuses minutes
// that Reap may have merged already, which would count again, and those of a clock that is ahead.
func TakesActivity(at, now time.Time) bool {
	return !at.Before(OldestMinute(now)) && !at.After(now.Add(time.Minute))
}

// MergeActivity merges activities of the same name and time. The result is ordered by time and
// name.
func MergeActivity(all []backend.Activity) []backend.Activity {
	slices.SortStableFunc(all, func(a, b backend.Activity) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Name, b.Name)) })
	merged := all[:0:0]
	for begin := 0; begin < len(all); {
		end := begin + 1
		for end < len(all) && all[end].Name == all[begin].Name && all[end].At.Equal(all[begin].At) {
			end++
		}
		merged = append(merged, sum(all[begin:end]))
		begin = end
	}
	return merged
}

// sum returns the sum of activities of one name and time.
func sum(all []backend.Activity) backend.Activity {
	total := all[0]
	if len(all) == 1 {
		return total
	}
	var waited, ran histogram.Histogram
	waited.Add(total.Waited)
	ran.Add(total.Ran)
	for _, a := range all[1:] {
		total.Done += a.Done
		total.Retried += a.Retried
		total.Failed += a.Failed
		total.Cancelled += a.Cancelled
		waited.Add(a.Waited)
		ran.Add(a.Ran)
	}
	total.Waited, total.Ran = waited.Append(nil), ran.Append(nil)
	return total
}

// ActivityByHour is MergeActivity by the hour.
func ActivityByHour(all []backend.Activity) []backend.Activity {
	hours := slices.Clone(all)
	for i := range hours {
		hours[i].At = hours[i].At.Truncate(time.Hour)
	}
	return MergeActivity(hours)
}
