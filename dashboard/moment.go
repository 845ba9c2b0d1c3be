package dashboard

import (
	"fmt"
	"time"
)

// A moment is a time as a page shows it. JavaScript replaces the text by one that grows
// older, and the title by the time in the viewer's zone.
type moment struct {
	ISO   string // for machines; empty is no time
	Exact string // in UTC
	Text  string
	Mode  string // "ago" counts from now, "for" is how long since
	at    time.Time
}

// ago returns a time as "3 min ago" or "in 3 min".
func (rq *request) ago(t time.Time) moment {
	m := rq.moment(t)
	if t.IsZero() {
		return m
	}
	m.Mode = "ago"
	if !rq.live {
		m.Text = "just now"
		if d := rq.now.Sub(t); d >= time.Second {
			m.Text = short(d) + " ago"
		} else if d <= -time.Second {
			m.Text = "in " + short(-d)
		}
	}
	return m
}

// since returns how long ago a time is, as "3 min".
func (rq *request) since(t time.Time) moment {
	m := rq.moment(t)
	if t.IsZero() {
		return m
	}
	m.Mode = "for"
	if !rq.live {
		m.Text = short(rq.now.Sub(t))
	}
	return m
}

// moment returns a time as it is in UTC.
func (rq *request) moment(t time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	m := moment{at: t, ISO: t.UTC().Format(time.RFC3339Nano), Exact: t.UTC().Format("2006-01-02 15:04:05.000 MST")}
	m.Text = t.UTC().Format("2006-01-02 15:04:05 MST")
	m.Mode = "exact"
	return m
}

// short returns a duration in its largest unit or two.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "0 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
