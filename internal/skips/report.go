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

// A report collects the results of tests.
type report struct {
	may []*regexp.Regexp // allowed reasons; none allows all

	tests   int
	skipped map[string]int // by reason
	failed  int            // packages
}

// A log is output of a package that may have to be shown.
type log struct {
	order []string            // tests, in the order of their first output
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

// take returns the output of a test and removes it.
func (l *log) take(test string) []string {
	said := l.said[test]
	l.said[test] = nil
	return said
}

// read reads the output of go test -json. It returns an error if a test failed, or was
// skipped for a reason that is not allowed.
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
				_, _ = to.Write(line) // a line of the go command
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
			return // its output is shown with its package
		}
		if said := l.take(e.Test); e.Action == "skip" {
			r.skipped[reason(said)]++
		}
	}
}

// ended prints the result of a package.
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

// place matches the source position of a skip.
var place = regexp.MustCompile(`^\s*[\w.-]+\.go:\d+: `)

// reason returns why a test was skipped, as one line of its output.
func reason(said []string) string {
	var why []string
	for _, text := range said {
		if place.MatchString(text) {
			why = nil // earlier output is not the reason
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

// end prints the line with the counts, and returns an error if tests failed.
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
		return errors.New("no test ran: pipe the output of go test -json into it")
	case r.failed > 0:
		return fmt.Errorf("the tests of %d packages failed", r.failed)
	case forbidden > 0:
		return fmt.Errorf("%d tests were skipped for a reason that no -may allows", forbidden)
	}
	return nil
}
