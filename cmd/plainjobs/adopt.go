package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/cli"
	"github.com/plainjobs/plainjobs/internal/adopt"
)

func adoptCommand(s *source) *cobra.Command {
	var o adopt.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "adopt LIBRARY [flags]",
		Short: "Take over the waiting jobs of another library",
		Long: `Adopt moves the waiting jobs of another library to this queue, in the database that
--db names, where the tables of both must be. LIBRARY is river, on PostgreSQL, or
backlite, goqite or plainjob, on SQLite. Jobs keep their order, priority, time and
remaining attempts. Unique keys are not kept. Running and finished jobs stay where they
are, and are counted, as are jobs that cannot be moved.

Each transaction deletes some hundreds of rows of the library and stores their jobs. If
adopt was interrupted, run it again: it continues, and no job is doubled. Stop the
library's workers first; River's and goqite's may run meanwhile.`,
		Example: `  plainjobs --db app.db adopt backlite --attempts 5 --dry-run
  PLAINJOBS_DB=postgres://app@db.example.com/app plainjobs adopt river --rename send_email=email:send`,
		Args: cobra.ExactArgs(1), ValidArgs: adopt.Libraries(),
		RunE: func(c *cobra.Command, args []string) error {
			report, err := takeOver(c.Context(), s, args[0], o)
			if err != nil {
				if errors.Is(err, backend.ErrInvalid) || errors.Is(err, errors.ErrUnsupported) {
					err = cli.Usage(err)
				}
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(report)
			}
			return show(c.OutOrStdout(), &report, args[0], o.DryRun)
		},
	}
	c.Flags().StringVar(&o.Queue, "queue", "", "take over only the jobs of the library's queue `NAME`")
	c.Flags().IntVar(&o.Attempts, "attempts", 0, "the library's maximum number of attempts; backlite needs it, goqite's default is 3 and plainjob's 1, and River stores it")
	c.Flags().StringToStringVar(&o.Rename, "rename", nil, "store jobs under another name, as `OLD=NEW`; may be repeated")
	c.Flags().BoolVar(&o.Bytes, "bytes", false, "store payloads that are not JSON as a string in base64, for a job of []byte")
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "count, and change nothing")
	c.Flags().BoolVar(&asJSON, "json", false, "print the counts as a JSON object")
	return c
}

func takeOver(ctx context.Context, s *source, library string, o adopt.Options) (r adopt.Report, err error) {
	store, err := s.open()
	if err != nil {
		return r, err
	}
	if c, ok := store.(io.Closer); ok {
		defer func() { err = errors.Join(err, c.Close()) }()
	}
	driver, dsn := "pgx", s.db
	if adopt.Kind(store) == "sqlite" {
		path, err := filepath.Abs(s.db)
		if err != nil {
			return r, err
		}
		u := url.URL{Path: filepath.ToSlash(path)} // the path may contain characters that have a meaning in a URI
		driver, dsn = "sqlite", "file:"+u.EscapedPath()+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return adopt.Run(ctx, db, store, library, o)
}

func show(w io.Writer, r *adopt.Report, library string, dryRun bool) error {
	total := func(counts map[string]int64) (n int64) {
		for _, c := range counts {
			n += c
		}
		return n
	}
	var b strings.Builder
	verb := "adopted"
	if dryRun {
		verb = "would adopt"
	}
	list := func(counts map[string]int64) {
		for _, name := range slices.Sorted(maps.Keys(counts)) {
			fmt.Fprintf(&b, "  %d  %s\n", counts[name], name)
		}
	}
	fmt.Fprintf(&b, "%s from %s: %d\n", verb, library, total(r.Adopted))
	list(r.Adopted)
	fmt.Fprintf(&b, "left in its tables: %d\n", total(r.Left))
	list(r.Left)
	if len(r.Schedules) > 0 {
		fmt.Fprintf(&b, "schedules, which the program must define: %d\n", len(r.Schedules))
		for _, name := range slices.Sorted(maps.Keys(r.Schedules)) {
			fmt.Fprintf(&b, "  %s  %s\n", name, r.Schedules[name])
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
