// Skips reads the output of "go test -json", prints it like go test, and ends with one
// line that counts the skipped tests by reason:
//
//	go test -json ./... | go run ./internal/skips
//
// Each -may REGEXP allows a reason. With at least one -may, a test that was skipped for
// another reason is a failure.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
)

func main() {
	var r report
	flag.Func("may", "a `REGEXP` of reasons for which a test may be skipped; the default is any", func(text string) error {
		re, err := regexp.Compile(text)
		r.may = append(r.may, re)
		return err
	})
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "skips: it takes no argument %s; it reads the output of go test -json\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := r.read(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "skips:", err)
		os.Exit(1)
	}
}
