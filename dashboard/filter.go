package dashboard

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs"
)

// A filter is what the URL of a list of jobs says. Its states, names and pairs of metadata
// may be given several times.
type filter struct {
	plainjobs.Filter
	Payload      string // a part of the payload
	Before       int64  // the page
	since, until string // as given
}

// parseFilter reads a filter. An error says which part is wrong.
func parseFilter(q url.Values, now time.Time) (f filter, err error) {
	f.Key, f.Error, f.Payload = q.Get("key"), q.Get("error"), q.Get("payload")
	f.since, f.until = q.Get("since"), q.Get("until")
	f.Names = several(q["name"])
	for _, text := range several(q["state"]) {
		state, err := plainjobs.ParseState(text)
		if err != nil {
			return f, wrong("There is no state %q. The states are scheduled, blocked, pending, running, done, failed and cancelled.", text)
		}
		f.States = append(f.States, state)
	}
	for _, pair := range q["metadata"] {
		if pair == "" { // an empty field of the form
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return f, wrong("metadata=%s is no pair. Write a key and its value, e.g. tenant=acme.", pair)
		}
		if f.Metadata == nil {
			f.Metadata = map[string]string{}
		}
		f.Metadata[key] = value
	}
	f.HasKey = q.Get("has-key") != ""
	if text := q.Get("group"); text != "" {
		if f.Group, err = strconv.ParseInt(text, 10, 64); err != nil || f.Group < 1 {
			return f, wrong("group=%s is not a group's ID.", text)
		}
	}
	if text := q.Get("before"); text != "" {
		if f.Before, err = strconv.ParseInt(text, 10, 64); err != nil || f.Before < 1 {
			return f, wrong("before=%s is not a job's ID, after which a page begins.", text)
		}
	}
	if f.Since, err = parseTime("since", f.since, now); err != nil {
		return f, err
	}
	if f.Until, err = parseTime("until", f.until, now); err != nil {
		return f, err
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return f, wrong("since=%s is not before until=%s: no job matches.", f.since, f.until)
	}
	return f, nil
}

// several returns the different words of a parameter's values, in the order given. Commas
// and spaces, which no name has, separate words.
func several(values []string) (words []string) {
	for _, value := range values {
		for _, word := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }) {
			if !slices.Contains(words, word) {
				words = append(words, word)
			}
		}
	}
	return words
}

func wrong(format string, args ...any) error {
	return &problem{status: http.StatusBadRequest, title: "The filter is wrong", hold: true, text: fmt.Sprintf(format, args...)}
}

// parseTime parses a time, or a duration before now such as 2h or 7d.
func parseTime(name, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	given := text
	if days, found := strings.CutSuffix(text, "d"); found {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n < 100_000 {
			text = strconv.Itoa(24*n) + "h"
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return time.Time{}, wrong("%s=%s is no time. Write a time in UTC such as 2026-03-28T12:00, or a duration before now such as 2h or 7d.", name, given)
	}
	return now.Add(-d), nil
}

// href returns the URL of the filter's page that begins below an ID; zero is the first.
func (f *filter) href(before int64) string {
	q := f.values()
	if before != 0 {
		q.Set("before", strconv.FormatInt(before, 10))
	}
	if len(q) == 0 {
		return "jobs"
	}
	return "jobs?" + q.Encode()
}

// values returns the filter as it is in a URL, without the page.
func (f *filter) values() url.Values {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	for _, state := range f.States {
		q.Add("state", state.String())
	}
	for _, name := range f.Names {
		q.Add("name", name)
	}
	for _, pair := range f.Pairs() {
		q.Add("metadata", pair)
	}
	set("key", f.Key)
	if f.HasKey {
		set("has-key", "yes")
	}
	set("error", f.Error)
	set("payload", f.Payload)
	set("since", f.since)
	set("until", f.until)
	if f.Group != 0 {
		set("group", strconv.FormatInt(f.Group, 10))
	}
	return q
}

// Pairs returns the pairs of metadata as they are in a URL.
func (f filter) Pairs() (pairs []string) {
	for _, key := range slices.Sorted(maps.Keys(f.Metadata)) {
		pairs = append(pairs, key+"="+f.Metadata[key])
	}
	return pairs
}

// NameList returns the names as they are in a field of the form.
func (f filter) NameList() string { return strings.Join(f.Names, ", ") }

// counts reports whether a count by name and state is of jobs that the filter may select.
func (f *filter) counts(name string, state plainjobs.State) bool {
	return (len(f.Names) == 0 || slices.Contains(f.Names, name)) && (len(f.States) == 0 || slices.Contains(f.States, state))
}

// counted reports whether the counts by name and state tell how many jobs match.
func (f *filter) counted() bool {
	return f.Key == "" && !f.HasKey && f.Error == "" && f.Payload == "" && f.since == "" && f.until == "" && f.Group == 0 && len(f.Metadata) == 0
}

// IsEmpty reports whether the filter selects every job.
func (f filter) IsEmpty() bool { return f.counted() && len(f.Names) == 0 && len(f.States) == 0 }

// jobsHref returns the URL of a list of jobs.
func jobsHref(f plainjobs.Filter) string { return (&filter{Filter: f}).href(0) }

// ofName selects the jobs of a name in some states, or in any.
func ofName(name string, states ...plainjobs.State) plainjobs.Filter {
	return plainjobs.Filter{Names: []string{name}, States: states}
}

func jobHref(id int64) string { return "job?id=" + strconv.FormatInt(id, 10) }
