package harness

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// PostgresVariable names a server where the flag -postgres does not.
const PostgresVariable = "PLAINJOBS_BENCH_POSTGRES"

// NewFlags returns a command's flags, which print nothing by themselves.
func NewFlags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	return f
}

// Parse parses flags of a command that takes no other arguments.
func Parse(f *flag.FlagSet, args []string) error {
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: use flags, and separate lists by commas without spaces", f.Arg(0))
	}
	return nil
}

// List parses a list without duplicates.
func List[T comparable](into *[]T, parse func(string) (T, error)) func(string) error {
	return func(text string) error {
		var values []T
		for part := range strings.SplitSeq(text, ",") {
			v, err := parse(part)
			if err != nil {
				return err
			}
			if slices.Contains(values, v) {
				return fmt.Errorf("%s is listed twice", part)
			}
			values = append(values, v)
		}
		*into = values
		return nil
	}
}

// One parses one value.
func One[T any](into *T, parse func(string) (T, error)) func(string) error {
	return func(text string) (err error) {
		*into, err = parse(text)
		return err
	}
}

// Number parses a number from 1 to most.
func Number(most int) func(string) (int, error) {
	return func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if errors.Is(err, strconv.ErrSyntax) {
			return 0, fmt.Errorf("%q is not a whole number", text)
		}
		if err != nil || n < 1 || n > most {
			return 0, fmt.Errorf("%s is not from 1 to %d", text, most)
		}
		return n, nil
	}
}

// Directory parses the path of a directory.
func Directory(path string) (string, error) {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = errors.New("not a directory")
	}
	return path, err
}
