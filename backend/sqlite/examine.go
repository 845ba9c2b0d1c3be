package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

const (
	// largeWAL is twice the size at which the writer truncates the log.
	largeWAL = 128 << 20
	// littleSpace is the free space below which a finding has a problem.
	littleSpace = 256 << 20
	// looksAt is how many of the application's connections are checked.
	looksAt = 4
	// skew is the tolerated difference between the clocks of processes.
	skew = 2 * time.Second
)

// An examination collects findings.
type examination struct {
	b      *Backend
	all    []backend.Finding
	locked bool // another connection keeps the write lock
}

func (e *examination) found(name, value, problem, fix string) {
	if problem == "" {
		fix = ""
	}
	e.all = append(e.all, backend.Finding{Name: name, Value: value, Problem: problem, Fix: fix})
}

// unless returns a problem if ok is false.
func unless(ok bool, problem string) string {
	if ok {
		return ""
	}
	return problem
}

// Examine implements [backend.Inspector].
func (b *Backend) Examine(ctx context.Context, req backend.ExamineRequest) ([]backend.Finding, error) {
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "examine", err)
	}
	defer leave()
	e := &examination{b: b}
	for _, look := range []func(context.Context) error{e.database, e.file, e.history, e.lock, e.clock, e.application,
		func(ctx context.Context) error { return e.derived(ctx, req) }} {
		if err := look(ctx); err != nil {
			return e.all, failed(ctx, "examine", err)
		}
	}
	return e.all, nil
}

// ask returns the single value of a query.
func ask(ctx context.Context, q queryer, query string) (value string, err error) {
	err = scan(ctx, q, query, nil, func(r *sql.Rows) error { return r.Scan(&value) })
	return value, err
}

// database checks the driver, the journal mode and the durability.
func (e *examination) database(ctx context.Context) error {
	if err := e.payloads(ctx); err != nil {
		return err
	}
	before := e.all
	return e.b.read(ctx, func(q queryer) error {
		e.all = before // it may run again
		version, err := ask(ctx, q, "SELECT sqlite_version()")
		if err != nil {
			return err
		}
		e.found("SQLite", fmt.Sprintf("%s by %s", version, e.b.driver), "", "")
		if e.b.path == "" {
			e.found("file", "none", "the jobs are lost when the program ends", "")
			return nil
		}
		mode, err := ask(ctx, q, "PRAGMA journal_mode")
		if err != nil {
			return err
		}
		e.found("journal mode", mode, unless(mode == "wal", "the database has left WAL mode"), "PRAGMA journal_mode=WAL")
		e.found("durability of pushes", "synchronous="+e.b.opts.Durability.String(),
			unless(e.b.opts.Durability == backend.PowerLoss, "a power cut may lose the last jobs"), "leave sqlite.Options.Durability at its default")
		return nil
	})
}

const selectLarge = `
	SELECT count(*), coalesce(min(id), 0) FROM plainjobs_job WHERE state IN (1, 2, 3, 4) AND length(payload) > ?`

// payloads looks for jobs whose payloads are too large for this driver.
func (e *examination) payloads(ctx context.Context) error {
	most := e.b.maxPayload()
	if most == largestRow {
		return nil
	}
	return e.b.read(ctx, func(q queryer) error {
		var n, first int64
		err := scan(ctx, q, e.b.sql(selectLarge), []any{most}, func(r *sql.Rows) error { return r.Scan(&n, &first) })
		if err == nil && n > 0 {
			e.found("payloads", fmt.Sprintf("%d of more than %s", n, bytesText(int64(most))),
				fmt.Sprintf("the payloads are too large for this driver, which skips their jobs; the first is #%d", first),
				"run a worker with another driver, or delete the jobs")
		}
		return err
	})
}

// file checks the files. It never opens them: closing them would drop SQLite's locks.
func (e *examination) file(ctx context.Context) error {
	if e.b.path == "" {
		return nil
	}
	var size, wal int64
	if info, err := os.Stat(e.b.path); err == nil {
		size = info.Size()
	}
	if info, err := os.Stat(e.b.path + "-wal"); err == nil {
		wal = info.Size()
	}
	gone := ""
	if err := e.b.writer.file.check(); err != nil {
		gone = err.Error()
	}
	e.found("file", fmt.Sprintf("%s, %s", e.b.path, bytesText(size)), gone, "stop every program that has the old file open, then restore")
	var warned warning
	err := checkFile(e.b.path, &warned)
	if err != nil {
		warned.text = err.Error()
	}
	fileSystem, _, _ := host.Classify(e.b.path)
	e.found("file system", unlessEmpty(fileSystem, "not known"), warned.text, "keep the database in a directory of a local file system")
	if free, known := host.FreeSpace(e.b.path); known {
		e.found("free space", bytesText(free), unless(free >= littleSpace, "the disk is almost full; a full disk refuses jobs"), "free disk space")
	}
	// A reader needs the log frames that a passive checkpoint cannot move.
	var held int64
	if err := e.b.read(ctx, func(q queryer) error {
		return scan(ctx, q, "PRAGMA wal_checkpoint(PASSIVE)", nil, func(r *sql.Rows) error {
			var busy, log, moved int64
			err := r.Scan(&busy, &log, &moved)
			held = max(0, log-moved)
			return err
		})
	}); err != nil && !busy(err) {
		return err
	}
	e.found("write-ahead log", fmt.Sprintf("%s, %d pages held by readers", bytesText(wal), held),
		unless(wal < largeWAL || held == 0, "a long read transaction keeps the log from being reused"), "end long transactions, and close sql.Rows")
	return nil
}

const selectAllNames = `SELECT id, name FROM plainjobs_job_name`

// history shows what bounds the bytes of finished jobs.
func (e *examination) history(ctx context.Context) error {
	text := ""
	err := e.b.read(ctx, func(q queryer) error {
		set, _, err := e.b.settings(ctx, q)
		if err != nil {
			return err
		}
		ids, finished, err := e.b.finished(ctx, q)
		if err != nil {
			return err
		}
		all, err := e.b.measure(ctx, q, set, ids, finished)
		if err != nil {
			return err
		}
		byID := map[int64]string{}
		err = scan(ctx, q, e.b.sql(selectAllNames), nil, func(r *sql.Rows) error {
			var id int64
			var name string
			err := r.Scan(&id, &name)
			byID[id] = name
			return err
		})
		names := make([]string, len(ids))
		for i, id := range ids {
			names[i] = byID[id]
		}
		text = lifecycle.BytesText(names, all)
		return err
	})
	if err == nil && text != "" {
		e.found("history", text, "", "")
	}
	return err
}

// bytesText formats a number of bytes.
func bytesText(n int64) string {
	f, units := float64(n)/(1<<20), []string{"MiB", "GiB", "TiB"}
	for f >= 1024 && len(units) > 1 {
		f, units = f/1024, units[1:]
	}
	return fmt.Sprintf("%.1f %s", f, units[0])
}

func unlessEmpty(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// A warning keeps the text of a logged warning.
type warning struct{ text string }

func (w *warning) Warn(text string, _ ...any) { w.text = strings.TrimPrefix(text, "plainjobs: ") }

// lockLook is how long the lock must be taken without a commit before it counts as
// stuck.
const lockLook = 500 * time.Millisecond

// lock checks whether a connection keeps the write lock without committing.
func (e *examination) lock(ctx context.Context) error {
	if e.b.path == "" {
		return nil
	}
	if e.locked = e.b.writer.file.check() != nil; e.locked {
		return nil // the path leads to another file
	}
	before, err := e.b.watch.version(e.b.readers)
	if err != nil {
		return err
	}
	began := time.Now()
	free, err := e.takes(ctx, lockLook)
	if err != nil {
		return err
	}
	after, err := e.b.watch.version(e.b.readers)
	switch {
	case err != nil:
		return err
	case free:
		e.found("write lock", "free", "", "")
		return nil
	case after != before:
		e.found("write lock", "in use; other connections commit", "", "")
		return nil
	}
	e.locked = true
	wait := max(time.Since(began), e.b.writer.busy.since())
	value := fmt.Sprintf("not free for %v", wait.Round(100*time.Millisecond))
	if info, err := os.Stat(e.b.path + "-wal"); err == nil {
		value += fmt.Sprintf("; the last commit was %v ago", time.Since(info.ModTime()).Round(time.Second))
	}
	problem, fix := "the system does not report which process keeps the lock; until it is free, no job can be stored or claimed", "end the transaction that keeps it"
	if h, ok := host.FindLockHolder(e.b.path); ok {
		problem = fmt.Sprintf("%v keeps the lock; until it is free, no job can be stored or claimed", h)
		fix = fmt.Sprintf("end its transaction, or process %d", h.PID)
	}
	e.found("write lock", value, problem, fix)
	e.all[len(e.all)-1].Stops = true
	return nil
}

// takes reports whether a new connection gets the write lock within a time. It releases
// the lock.
func (e *examination) takes(ctx context.Context, within time.Duration) (free bool, err error) {
	pool := e.b.ownPool()
	defer pool.Close() // which rolls back
	look, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	pause := func() time.Duration { return maxFrontPause }
	err = retryUpTo(pause, look, time.Time{}, func() error {
		_, err := pool.ExecContext(ctx, "BEGIN IMMEDIATE")
		return err
	})
	if err != nil && look.Err() != nil {
		return false, ctx.Err()
	}
	return err == nil, err
}

const selectLatest = `SELECT coalesce(max(renewed_at), 0) FROM plainjobs_worker`

// clock looks for a worker whose clock is ahead.
func (e *examination) clock(ctx context.Context) error {
	return e.b.read(ctx, func(q queryer) error {
		var latest int64
		err := scan(ctx, q, e.b.sql(selectLatest), nil, func(r *sql.Rows) error { return r.Scan(&latest) })
		if err != nil {
			return err
		}
		ahead := time.Duration(latest-e.b.now()) * time.Microsecond
		e.found("clock", time.UnixMicro(e.b.now()).UTC().Format("2006-01-02 15:04:05 MST"),
			unless(ahead < skew, fmt.Sprintf("a worker was last seen %v in the future", ahead.Round(time.Second))), "synchronise the clocks of processes and containers")
		return nil
	})
}

// application checks the settings of the application's connections, which WithTx uses.
func (e *examination) application(ctx context.Context) error {
	db := e.b.callers
	if db == nil || e.b.path == "" {
		return nil
	}
	n := looksAt
	if most := db.Stats().MaxOpenConnections; most > 0 {
		n = min(n, most)
	}
	var conns []*sql.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close() // back to the pool
		}
	}()
	soon, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for range n { // all at the same time, so that they differ
		c, err := db.Conn(soon)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if busy(err) && e.b.free(ctx) {
				e.found("application's connections", "one cannot be opened", "its DSN sets another journal mode than WAL, which fails while the queue is open",
					"set journal_mode=WAL in the DSN, or remove journal_mode")
			}
			break // the application uses the others
		}
		conns = append(conns, c)
	}
	values := map[string][]string{}
	for _, c := range conns {
		for _, pragma := range []string{"synchronous", "busy_timeout"} {
			v, err := ask(ctx, unmapped{c}, "PRAGMA "+pragma)
			if err != nil {
				return err
			}
			values[pragma] = append(values[pragma], v)
		}
	}
	of := fmt.Sprintf(" on %d connections", len(conns))
	e.found("application's synchronous", words(values["synchronous"], syncNames)+of,
		unless(every(values["synchronous"], func(v string) bool { return v >= "2" }), "a power cut may lose jobs that are pushed in its transactions"),
		e.b.setting("synchronous", "FULL"))
	e.found("application's busy timeout", words(values["busy_timeout"], nil)+" ms"+of,
		unless(every(values["busy_timeout"], func(v string) bool { return v != "0" }), "its writes fail when another process writes"),
		e.b.setting("busy_timeout", "10000"))
	if len(conns) > 0 && !e.locked {
		return e.transactions(ctx, conns[0])
	}
	return nil
}

// transactions checks whether transactions of the application take the write lock when
// they begin.
func (e *examination) transactions(ctx context.Context, c *sql.Conn) error {
	immediate, known, err := e.b.immediate(ctx, c)
	if !known {
		return err
	}
	value := map[bool]string{true: "immediate", false: "deferred"}[immediate]
	e.found("application's transactions", value, unless(immediate, "a transaction that reads first fails at its first write if another connection has written since"), e.b.setting("txlock", "immediate"))
	return nil
}

var syncNames = map[string]string{"0": "OFF", "1": "NORMAL", "2": "FULL", "3": "EXTRA"}

// words joins the distinct values.
func words(values []string, names map[string]string) string {
	var all []string
	seen := map[string]bool{}
	for _, v := range values {
		if seen[v] {
			continue
		}
		seen[v] = true
		all = append(all, unlessEmpty(names[v], v))
	}
	return strings.Join(all, " and ")
}

func every(values []string, ok func(string) bool) bool {
	for _, v := range values {
		if !ok(v) {
			return false
		}
	}
	return true
}
