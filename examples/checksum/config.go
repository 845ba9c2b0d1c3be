package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// A config has the settings of the command line.
type config struct {
	dir      string // as given
	root     string // the same, absolute and without symbolic links
	db       string // empty: a temporary file
	driver   driver
	parallel int
	out      string // empty: none
}

// maxParallel is the maximum of a worker.
const maxParallel = 100_000

// parse parses the command line. It prints its errors.
func parse(args []string) (config, error) {
	var cfg config
	flags := flag.NewFlagSet("checksum", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: checksum [flags] DIR")
		flags.PrintDefaults()
	}
	flags.StringVar(&cfg.db, "db", "", "keep the queue and the sums in `FILE`, and continue its work (default: a temporary file)")
	name := flags.String("driver", "modernc", "SQLite driver `NAME`: "+driverNames())
	flags.IntVar(&cfg.parallel, "parallel", runtime.GOMAXPROCS(0), "read up to `N` files at once")
	flags.StringVar(&cfg.out, "out", "", "write the sums to `FILE`, in the format of sha256sum")
	if err := flags.Parse(args); err != nil {
		return cfg, err
	}
	cfg.dir = flags.Arg(0)
	err := cfg.check(flags.NArg())
	if err == nil {
		cfg.driver, err = findDriver(*name)
	}
	if err != nil {
		fmt.Fprintf(flags.Output(), "checksum: %v\n", err)
		flags.Usage()
	}
	return cfg, err
}

func (c *config) check(args int) error {
	switch {
	case args == 0:
		return errors.New("DIR is missing: give a directory")
	case args > 1:
		return errors.New("give one DIR, after the flags")
	case c.parallel < 1 || c.parallel > maxParallel:
		return fmt.Errorf("-parallel %d is out of range: give 1 to %d", c.parallel, maxParallel)
	case c.out != "" && sameFile(c.out, c.db):
		return errors.New("-out would overwrite the file of -db: give another file")
	}
	info, err := os.Stat(c.dir)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "stat", Path: c.dir, Err: syscall.ENOTDIR}
	}
	if err == nil {
		c.root, err = realPath(c.dir)
	}
	return err
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	if errA != nil || errB != nil {
		return filepath.Clean(a) == filepath.Clean(b)
	}
	return os.SameFile(infoA, infoB)
}

// realPath returns the path of a file without symbolic links, so that each file has
// one path.
func realPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}
