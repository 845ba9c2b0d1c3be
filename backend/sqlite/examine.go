package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

const (
	// largeWAL is twice what the writer lets it grow to by itself.
	largeWAL = 128 << 20
	// littleSpace is little for a database that is being written.
	littleSpace = 256 << 20
	// looksAt is how many of the application's connections are looked at.
	looksAt = 4
	// skew is how far the clocks of processes may differ.
	skew = 2 * time.Second
)

// An examination collects what it finds.
type examination struct {
	b      *Backend
	all    []backend.Finding
	locked bool // the lock is not to be had
}

func (e *examination) found(name, value, trouble, mend string) {
	if trouble == "" {
		mend = ""
	}
	e.all = append(e.all, backend.Finding{Name: name, Value: value, Problem: trouble, Fix: mend})
}

// unless returns a trouble if something does not hold.
func unless(ok bool, trouble string) string {
	if ok {
		return ""
	}
	return trouble
}

// Examine implements [backend.Inspector].
func (b *Backend) Examine(ctx context.Context, req backend.ExamineRequest) ([]backend.Finding, error) {
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "examine", err)
	}
	defer leave()
	e := &examination{b: b}
	for _, look := range []func(context.Context) error{e.database, e.file, e.lock, e.clock, e.application,
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

// database looks at what every connection shares.
func (e *examination) database(ctx context.Context) error {
	if err := e.payloads(ctx); err != nil {
		return err
	}
	before := e.all
	return e.b.read(ctx, func(q queryer) error {
		e.all = before // it may be done again
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
		e.found("journal mode", mode, unless(mode == "wal", "something has left WAL mode"), "PRAGMA journal_mode=WAL")
		e.found("durability of pushes", "synchronous="+e.b.opts.Durability.String(),
			unless(e.b.opts.Durability == backend.PowerLoss, "a power cut may lose the last jobs"), "leave sqlite.Options.Durability at its default")
		return nil
	})
}

const selectLarge = `
	SELECT count(*), coalesce(min(id), 0) FROM plainjobs_jobs WHERE state IN (1, 2, 3, 4) AND length(payload) > ?`

// payloads looks for jobs that this driver cannot carry, if it carries less than
// others.
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
				fmt.Sprintf("this driver cannot carry them, and leaves those jobs alone; the first is #%d", first),
				"run a worker with another driver, or delete them")
		}
		return err
	})
}

// file looks at the files. They are never opened: that would void SQLite's
// locks on them.
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
		e.found("free space", bytesText(free), unless(free >= littleSpace, "little is left; a full disk refuses jobs"), "make room")
	}
	// Log frames that a passive checkpoint cannot move are held by a reader.
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
		unless(wal < largeWAL || held == 0, "a transaction that reads for long keeps it from being reused"), "end long transactions, and close sql.Rows")
	return nil
}

// bytesText returns a number of bytes for people.
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

// A warning keeps what is logged.
type warning struct{ text string }

func (w *warning) Warn(text string, _ ...any) { w.text = strings.TrimPrefix(text, "plainjobs: ") }

// lockLook is for how long the lock must not be free, and nothing be committed, for
// somebody to keep it.
const lockLook = 500 * time.Millisecond

// lock looks whether somebody keeps the lock, and all others from writing.
func (e *examination) lock(ctx context.Context) error {
	if e.b.path == "" {
		return nil
	}
	if e.locked = e.b.writer.file.check() != nil; e.locked {
		return nil // it would be another file's
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
		e.found("write lock", "in use, and others commit", "", "")
		return nil
	}
	e.locked = true
	wait := max(time.Since(began), e.b.writer.busy.since())
	value := fmt.Sprintf("not free for %v", wait.Round(100*time.Millisecond))
	if info, err := os.Stat(e.b.path + "-wal"); err == nil {
		value += fmt.Sprintf(", and nothing was stored for %v", time.Since(info.ModTime()).Round(time.Second))
	}
	trouble, mend := "the system does not tell who keeps it, and nothing can be stored or claimed meanwhile", "end the transaction that keeps it"
	if h, ok := host.FindLockHolder(e.b.path); ok {
		trouble = fmt.Sprintf("%v keeps it, and nothing can be stored or claimed meanwhile", h)
		mend = fmt.Sprintf("end its transaction, or process %d", h.PID)
	}
	e.found("write lock", value, trouble, mend)
	e.all[len(e.all)-1].Stops = true
	return nil
}

// takes reports whether a connection of its own gets the lock within a time. It
// gives it back.
func (e *examination) takes(ctx context.Context, within time.Duration) (free bool, err error) {
	pool := e.b.ownPool()
	defer pool.Close() // which takes back what was begun
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

const selectLatest = `SELECT coalesce(max(seen_at), 0) FROM plainjobs_workers`

// clock looks for times to come: a worker with a clock that is ahead.
func (e *examination) clock(ctx context.Context) error {
	return e.b.read(ctx, func(q queryer) error {
		var latest int64
		err := scan(ctx, q, e.b.sql(selectLatest), nil, func(r *sql.Rows) error { return r.Scan(&latest) })
		if err != nil {
			return err
		}
		ahead := time.Duration(latest-e.b.now()) * time.Microsecond
		e.found("clock", time.UnixMicro(e.b.now()).UTC().Format("2006-01-02 15:04:05 MST"),
			unless(ahead < skew, fmt.Sprintf("a worker was heard of %v from now", ahead.Round(time.Second))), "synchronise the clocks of processes and containers")
		return nil
	})
}

// application looks at the connections of the *sql.DB that New was given, in
// which WithTx works. How each driver is told is no part of database/sql.
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
	for range n { // all at once, so that they are not the same one
		c, err := db.Conn(soon)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if busy(err) && e.b.free(ctx) {
				e.found("application's connections", "one cannot be opened", "its DSN sets a journal mode that is not WAL, which cannot be while the queue is open",
					"set journal_mode=WAL in the DSN, or leave it out")
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
		unless(every(values["synchronous"], func(v string) bool { return v >= "2" }), "jobs that are pushed in its transactions may be lost in a power cut"),
		e.b.setting("synchronous", "FULL"))
	e.found("application's busy timeout", words(values["busy_timeout"], nil)+" ms"+of,
		unless(every(values["busy_timeout"], func(v string) bool { return v != "0" }), "its writes fail when another process writes"),
		e.b.setting("busy_timeout", "10000"))
	if len(conns) > 0 && !e.locked {
		return e.transactions(ctx, conns[0])
	}
	return nil
}

// transactions looks whether a transaction takes the lock when it begins: one
// that takes it later fails if another wrote meanwhile.
func (e *examination) transactions(ctx context.Context, c *sql.Conn) error {
	immediate, known, err := e.b.immediate(ctx, c)
	if !known {
		return err
	}
	value := map[bool]string{true: "immediate", false: "deferred"}[immediate]
	e.found("application's transactions", value, unless(immediate, "one that reads before it writes fails if another wrote meanwhile"), e.b.setting("txlock", "immediate"))
	return nil
}

var syncNames = map[string]string{"0": "OFF", "1": "NORMAL", "2": "FULL", "3": "EXTRA"}

// words returns the values without doubles.
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
