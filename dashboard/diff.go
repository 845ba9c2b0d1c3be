package dashboard

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/plainjobs/plainjobs"
)

// diffLines bounds the lines that are compared: the time grows with the square.
const diffLines = 400

// A diffView compares the errors and stacks of two attempts.
type diffView struct {
	ID       int64
	From, To []option
	Lines    []diffLine
	Same     bool
	Cut      bool
}

// A diffLine is a line that both texts have, or one of them.
type diffLine struct {
	Mark string // " ", "-" or "+"
	Text string
}

// diffOf compares two errors of a job, by default the last two. It is nil if the job has
// fewer.
func diffOf(j *plainjobs.Info, query url.Values) (*diffView, error) {
	n := len(j.Errors)
	if n < 2 {
		return nil, nil
	}
	number := func(name string, otherwise int) (int, error) {
		text := query.Get(name)
		if text == "" {
			return otherwise, nil
		}
		i, err := strconv.Atoi(text)
		if err != nil || i < 1 || i > n {
			return 0, wrong("%s=%s is not one of the %d errors that the job has.", name, text, n)
		}
		return i, nil
	}
	from, err := number("from", n-1)
	if err != nil {
		return nil, err
	}
	to, err := number("to", n)
	if err != nil {
		return nil, err
	}
	d := &diffView{ID: j.ID}
	for i, e := range j.Errors {
		text := fmt.Sprintf("attempt %d, %s", e.Attempt, e.At.UTC().Format("15:04:05 UTC"))
		d.From = append(d.From, option{strconv.Itoa(i + 1), text, i+1 == from})
		d.To = append(d.To, option{strconv.Itoa(i + 1), text, i+1 == to})
	}
	a, cutA := errorLines(&j.Errors[from-1])
	b, cutB := errorLines(&j.Errors[to-1])
	d.Lines, d.Cut = diff(a, b), cutA || cutB
	d.Same = true
	for _, l := range d.Lines {
		d.Same = d.Same && l.Mark == " "
	}
	return d, nil
}

// errorLines returns the lines of an error and its stack, and whether some are missing.
func errorLines(e *plainjobs.RunError) (lines []string, cut bool) {
	text := prefix(e.Error, shownBytes)
	if e.Stack != "" {
		text += "\n" + prefix(e.Stack, shownBytes)
	}
	lines = strings.Split(strings.TrimRight(visible(text), "\n"), "\n")
	if len(lines) > diffLines {
		return lines[:diffLines], true
	}
	return lines, len(e.Error) > shownBytes || len(e.Stack) > shownBytes
}

// diff returns the lines of a and b with the longest common subsequence.
func diff(a, b []string) (lines []diffLine) {
	// common[i][j] is the length of the longest common subsequence of a[i:] and b[j:].
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			lines = append(lines, diffLine{" ", a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			lines = append(lines, diffLine{"-", a[i]})
			i++
		default:
			lines = append(lines, diffLine{"+", b[j]})
			j++
		}
	}
	return lines
}
