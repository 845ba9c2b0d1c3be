package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// An event is a line of go test -json, see go doc test2json.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64 // in seconds
}

// A report is what became of tests.
type report struct {
	may []*regexp.Regexp // reasons to skip; none is any

	tests   int
	skipped map[string]int // by reason
	failed  int            // packages
}

// A log is what a package has said that is not known to be of no interest.
type log struct {
	order []string            // tests, in which something was said
	said  map[string][]string // by test; "" is the package
}

func (l *log) add(test, text string) {
	if l.said == nil {
		l.said = map[string][]string{}
	}
	if _, known := l.said[test]; !known {
		l.order = append(l.order, test)
	}
	l.said[test] = append(l.said[test], text)
}

// take returns what a test has said, and forgets it.
func (l *log) take(test string) []string {
	said := l.said[test]
	l.said[test] = nil
	return said
}

// read reports what go test prints. It returns an error if a test has failed, or
// was skipped that may not be.
func (r *report) read(from io.Reader, to io.Writer) error {
	r.skipped = map[string]int{}
	logs := map[string]*log{}
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if bytes.HasPrefix(line, []byte("{")) && json.Unmarshal(line, &e) == nil {
				r.hear(e, logs, to)
			} else {
				_, _ = to.Write(line) // it is the go command's own
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	return r.end(to)
}

func (r *report) hear(e event, logs map[string]*log, to io.Writer) {
	l := logs[e.Package]
	if l == nil {
		l = &log{said: map[string][]string{}}
		logs[e.Package] = l
	}
	switch e.Action {
	case "output":
		l.add(e.Test, e.Output)
	case "build-output":
		fmt.Fprint(to, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.ended(e, l, to)
			delete(logs, e.Package)
			return
		}
		r.tests++
		if e.Action == "fail" {
			return // what it said is shown with its package
		}
		if said := l.take(e.Test); e.Action == "skip" {
			r.skipped[reason(said)]++
		}
	}
}

// ended shows the end of a package's tests.
func (r *report) ended(e event, l *log, to io.Writer) {
	took := time.Duration(e.Elapsed * float64(time.Second)).Round(time.Millisecond)
	switch e.Action {
	case "pass":
		fmt.Fprintf(to, "ok  \t%s\t%v\n", e.Package, took)
	case "fail":
		r.failed++
		for _, test := range l.order {
			for _, text := range l.said[test] {
				if !strings.HasPrefix(text, "=== ") {
					fmt.Fprint(to, text)
				}
			}
		}
	}
}

// place is how a test names where it is skipped, and where a subtest is.
var place = regexp.MustCompile(`^\s*[\w.-]+\.go:\d+: `)

// reason returns why a test was skipped, on one line, from what it said.
func reason(said []string) string {
	var why []string
	for _, text := range said {
		if place.MatchString(text) {
			why = nil // what it logged before is no reason
		}
		if text = place.ReplaceAllString(text, ""); !strings.HasPrefix(strings.TrimSpace(text), "--- ") && !strings.HasPrefix(text, "=== ") {
			why = append(why, strings.Fields(text)...)
		}
	}
	if len(why) == 0 {
		return "no reason given"
	}
	return strings.Join(why, " ")
}

// end prints the line that counts, and returns whether all is well.
func (r *report) end(to io.Writer) error {
	all, forbidden := 0, 0
	reasons := slices.SortedFunc(maps.Keys(r.skipped), func(a, b string) int {
		return cmp.Or(cmp.Compare(r.skipped[b], r.skipped[a]), cmp.Compare(a, b))
	})
	var why []string
	for _, reason := range reasons {
		n := r.skipped[reason]
		all += n
		text := fmt.Sprintf("%s (%d)", reason, n)
		if len(r.may) > 0 && !slices.ContainsFunc(r.may, func(re *regexp.Regexp) bool { return re.MatchString(reason) }) {
			forbidden += n
			text = "NOT ALLOWED HERE: " + text
		}
		why = append(why, text)
	}
	fmt.Fprintf(to, "skipped %d of %d tests", all, r.tests)
	if all > 0 {
		fmt.Fprint(to, ": ", strings.Join(why, "; "))
	}
	fmt.Fprintln(to)
	switch {
	case r.tests == 0:
		return errors.New("no test ran: its input is to be the output of go test -json")
	case r.failed > 0:
		return fmt.Errorf("the tests of %d packages failed", r.failed)
	case forbidden > 0:
		return fmt.Errorf("%d tests were skipped that must run here", forbidden)
	}
	return nil
}
