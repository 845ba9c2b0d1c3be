package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// short rounds a duration to its largest unit.
func short(d time.Duration) string {
	d = d.Abs()
	in := func(unit time.Duration) int64 { return int64(d.Round(unit) / unit) }
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%dµs", d.Microseconds())
	case in(time.Millisecond) < 1000:
		return fmt.Sprintf("%dms", in(time.Millisecond))
	case in(time.Second/10) < 100:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(in(time.Second/10))/10), ".0") + "s"
	case in(time.Second) < 120:
		return fmt.Sprintf("%ds", in(time.Second))
	case in(time.Minute) < 120:
		return fmt.Sprintf("%dm", in(time.Minute))
	case in(time.Hour) < 48:
		return fmt.Sprintf("%dh", in(time.Hour))
	}
	return fmt.Sprintf("%dd", in(24*time.Hour))
}

// when returns a time relative to now.
func (s *screen) when(t time.Time) string {
	switch d := t.Sub(s.now); {
	case t.IsZero():
		return "-"
	case d > 0:
		return "in " + short(d)
	case d > -time.Second:
		return "now"
	default:
		return short(d) + " ago"
	}
}

// stamp returns a time in UTC, and relative to now.
func (s *screen) stamp(t time.Time) string {
	return fmt.Sprintf("%s  (%s)", t.UTC().Format("2006-01-02 15:04:05.000 MST"), s.when(t))
}

// ago parses a time, or a duration before now.
func ago(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n < 100_000 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	for _, form := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(form, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage("%q is not a time: give e.g. 2006-01-02 15:04 or 2006-01-02T15:04:05Z, or a duration before now, e.g. 90m or 7d", text)
}
