package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	// manyDead is ten times the number of dead rows at which vacuum starts.
	manyDead = 50_000
	// longSnapshot is the age at which a snapshot is a problem for a queue.
	longSnapshot = time.Minute
	// listenGrace is how long the first LISTEN may take.
	listenGrace = 2 * time.Second
	// skew is how far clocks may differ.
	skew = 2 * time.Second
)

// An examination collects findings.
type examination struct {
	b   *Backend
	all []backend.Finding
}

// add adds a finding. fix is dropped if there is no problem.
func (e *examination) add(name, value, problem, fix string) {
	if problem == "" {
		fix = ""
	}
	e.all = append(e.all, backend.Finding{Name: name, Value: value, Problem: problem, Fix: fix})
}

// when returns the problem if bad is true.
func when(bad bool, problem string) string {
	if bad {
		return problem
	}
	return ""
}

// checkTime bounds each check of Examine. A check takes milliseconds, unless a table
// is locked.
const checkTime = 5 * time.Second

// Examine implements [backend.Inspector]. It sees the sessions of other roles only
// if the role has pg_read_all_stats.
func (b *Backend) Examine(ctx context.Context, req backend.ExamineRequest) ([]backend.Finding, error) {
	e := &examination{b: b}
	for _, check := range []func(context.Context, querier) error{e.server, e.locks, e.durability, e.numbers, e.vacuum, e.snapshots, e.prepared, e.slots, e.clock, e.connections} {
		before := e.all
		try := func(check func(context.Context, querier) error, limit time.Duration) error {
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			return b.read(ctx, "examine", func(q querier) error {
				e.all = before // read may run the function again
				return check(ctx, q)
			})
		}
		err := try(check, checkTime)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			// The lock may have been taken, or have become old enough to report, after
			// the first check.
			before = slices.DeleteFunc(before, func(f backend.Finding) bool { return f.Name == "table locks" })
			if lockErr := try(e.locks, checkTime); lockErr == nil && slices.ContainsFunc(e.all, func(f backend.Finding) bool { return f.Stops }) {
				err = nil
			}
		}
		if err != nil || slices.ContainsFunc(e.all, func(f backend.Finding) bool { return f.Stops }) {
			return e.all, err // the remaining checks would wait for the lock
		}
	}
	leave, err := b.enter()
	if err != nil {
		return e.all, b.failed(ctx, "examine", err)
	}
	defer leave()
	if err := e.pooler(ctx); err != nil {
		return e.all, b.failed(ctx, "examine", err)
	}
	if err := e.listening(ctx); err != nil {
		return e.all, b.failed(ctx, "examine", err)
	}
	if err := e.history(ctx); err != nil {
		return e.all, b.failed(ctx, "examine", err)
	}
	return e.all, b.failed(ctx, "examine", e.derived(ctx, req))
}

// history shows what bounds the bytes of finished jobs.
func (e *examination) history(ctx context.Context) error {
	text := ""
	err := e.b.transact(ctx, false, func(t *tx) error {
		classes, historyOf, err := t.classes()
		if err != nil {
			return err
		}
		names, all, err := sqlstore.Measure(classes, historyOf, t.averageSize)
		text = lifecycle.BytesText(names, all)
		return err
	})
	if err == nil && text != "" {
		e.add("history", text, "", "")
	}
	return err
}

// ask scans the first row of a query.
func (e *examination) ask(ctx context.Context, q querier, query string, args []any, into ...any) error {
	first := true
	return e.b.scan(ctx, q, query, args, func(r *sql.Rows) error {
		if !first {
			return nil
		}
		first = false
		return r.Scan(into...)
	})
}

func (e *examination) server(ctx context.Context, q querier) error {
	const query = `SELECT current_setting('server_version'), pg_is_in_recovery(), current_setting('transaction_read_only')::boolean`
	var version string
	var replica, readOnly bool
	if err := e.ask(ctx, q, query, nil, &version, &replica, &readOnly); err != nil {
		return err
	}
	e.add("PostgreSQL", fmt.Sprintf("%s by %s, schema %s", version, e.b.driver, e.b.opts.Schema), "", "")
	role := "primary"
	switch {
	case replica:
		role = "replica"
	case readOnly:
		role = "primary, read-only"
	}
	e.add("server", role, when(replica || readOnly, "the server is read-only"),
		"connect to the primary: add target_session_attrs=read-write to the DSN; on the primary, set default_transaction_read_only to off")
	return nil
}

func (e *examination) durability(ctx context.Context, q querier) error {
	const query = `
		SELECT current_setting('synchronous_commit'), current_setting('fsync')::boolean, current_setting('full_page_writes')::boolean,
			current_setting('synchronous_standby_names')`
	var commit, standbys string
	var fsync, pages bool
	if err := e.ask(ctx, q, query, nil, &commit, &fsync, &pages, &standbys); err != nil {
		return err
	}
	e.add("durability of pushes", e.b.opts.Durability.String(),
		when(!e.b.durable(), "a crash of the server may lose the most recent jobs"), "leave postgres.Options.Durability at its default")
	e.add("synchronous_commit", commit, when(commit == "off", "a crash of the server may lose jobs pushed in the application's transactions"),
		fmt.Sprintf("ALTER ROLE %s SET synchronous_commit = on", quoteName(e.b.role)))
	value := "none"
	if standbys != "" {
		value = standbys
	}
	e.add("synchronous standbys", value, "", "")
	e.add("fsync", fmt.Sprintf("%v, full_page_writes %v", onOff(fsync), onOff(pages)),
		when(!fsync || !pages, "a power cut may damage the whole database"), "set fsync and full_page_writes to on in postgresql.conf")
	return nil
}

// numbers checks that the sequence of job IDs is not behind the jobs.
func (e *examination) numbers(ctx context.Context, q querier) error {
	var given, last int64
	if err := e.ask(ctx, q, selectLastID, nil, &given); err != nil {
		return err
	}
	if err := e.ask(ctx, q, `SELECT coalesce(max(id), 0) FROM plainjobs.job`, nil, &last); err != nil {
		return err
	}
	e.add("job IDs", fmt.Sprintf("the last is %d", given),
		when(last > given, fmt.Sprintf("job %d exists: the sequence is behind it, and pushes fail", last)), e.b.raiseSequence())
	return nil
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// vacuum checks that dead rows are removed, and counts them.
func (e *examination) vacuum(ctx context.Context, q querier) error {
	const query = `
		SELECT current_setting('autovacuum')::boolean AND current_setting('track_counts')::boolean,
			coalesce(array_to_string(c.reloptions, ' ') ~ 'autovacuum_enabled=(false|off|no|0)', false),
			pg_stat_get_live_tuples(c.oid), pg_stat_get_dead_tuples(c.oid),
			coalesce(extract(epoch FROM clock_timestamp() - greatest(pg_stat_get_last_vacuum_time(c.oid), pg_stat_get_last_autovacuum_time(c.oid))), -1)::bigint
		FROM pg_catalog.pg_class c WHERE c.oid = 'plainjobs.job'::regclass`
	var server, off bool
	var live, dead, ago int64
	if err := e.ask(ctx, q, query, nil, &server, &off, &live, &dead, &ago); err != nil {
		return err
	}
	table := e.b.sql("plainjobs.job")
	switch {
	case !server:
		e.add("autovacuum", "off", "dead rows are never removed: claims become slow, and the disk fills up",
			"ALTER SYSTEM SET autovacuum = on; ALTER SYSTEM SET track_counts = on; SELECT pg_reload_conf()")
	case off:
		e.add("autovacuum", "off for "+table, "dead rows are never removed: claims become slow, and the disk fills up", "ALTER TABLE "+table+" RESET (autovacuum_enabled)")
	default:
		e.add("autovacuum", "on", "", "")
	}
	value := fmt.Sprintf("%d, and %d jobs", dead, live)
	if ago >= 0 {
		value += fmt.Sprintf(", vacuumed %v ago", time.Duration(ago)*time.Second)
	}
	e.add("dead rows", value, when(dead >= manyDead, "vacuum should leave fewer: something holds them (see the oldest snapshot), or vacuum does not keep up"),
		"end the transaction that holds them, then run VACUUM "+table)
	return nil
}

// longLock is how long a lock that blocks writes may be held before it is reported.
const longLock = time.Second

// locks looks for a session that blocks writes to the tables.
func (e *examination) locks(ctx context.Context, q querier) error {
	const query = `
		SELECT l.pid, coalesce(a.application_name, ''), coalesce(a.usename::text, ''), coalesce(host(a.client_addr), 'the server''s host'),
			coalesce(a.state, ''), c.relname::text, l.mode,
			(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.query_start, clock_timestamp())) * 1e6)::bigint
		FROM pg_catalog.pg_locks l
			JOIN pg_catalog.pg_class c ON c.oid = l.relation
			JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
		WHERE n.nspname = $1::text AND c.relkind = 'r' AND l.granted AND l.pid <> pg_backend_pid()
			AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
			AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
		ORDER BY a.xact_start LIMIT 1`
	var pid, micros int64
	var name, role, client, state, table, mode string
	if err := e.ask(ctx, q, query, []any{e.b.opts.Schema}, &pid, &name, &role, &client, &state, &table, &mode, &micros); err != nil {
		return err
	}
	old := time.Duration(micros) * time.Microsecond
	if pid == 0 || old < longLock {
		e.add("table locks", "none held for long", "", "")
		return nil
	}
	e.add("table locks", fmt.Sprintf("%s on %s for %v", mode, table, old.Round(time.Second)),
		fmt.Sprintf("pid %d (role %s, application %q, from %s, %s) holds it; until it ends, no job can be stored or claimed", pid, role, name, client, state),
		fmt.Sprintf("end its transaction: SELECT pg_terminate_backend(%d)", pid))
	e.all[len(e.all)-1].Stops = true
	return nil
}

func (e *examination) snapshots(ctx context.Context, q querier) error {
	const query = `
		SELECT pid, coalesce(application_name, ''), coalesce(usename::text, ''), coalesce(state, ''),
			extract(epoch FROM clock_timestamp() - coalesce(xact_start, clock_timestamp()))::bigint
		FROM pg_catalog.pg_stat_activity
		WHERE pid <> pg_backend_pid() AND datname = current_database() AND backend_xmin IS NOT NULL AND backend_type <> 'autovacuum worker'
		ORDER BY age(backend_xmin) DESC, xact_start LIMIT 1`
	var pid, seconds int64
	var name, role, state string
	if err := e.ask(ctx, q, query, nil, &pid, &name, &role, &state, &seconds); err != nil {
		return err
	}
	if pid == 0 {
		e.add("oldest snapshot", "none", "", "")
		return nil
	}
	old := time.Duration(seconds) * time.Second
	e.add("oldest snapshot", fmt.Sprintf("%v, pid %d, role %s, application %q, %s", old, pid, role, name, state),
		when(old >= longSnapshot, "while it is open, vacuum cannot remove rows that died since, and claims read past them"),
		fmt.Sprintf("commit sooner, or end it: SELECT pg_terminate_backend(%d); ALTER ROLE %s SET idle_in_transaction_session_timeout = '1min' "+
			"ends forgotten transactions", pid, quoteName(role)))
	return nil
}

// prepared looks for forgotten prepared transactions. They hold what an open
// transaction holds, but no session shows them.
func (e *examination) prepared(ctx context.Context, q querier) error {
	const query = `
		SELECT quote_literal(gid), extract(epoch FROM clock_timestamp() - prepared)::bigint
		FROM pg_catalog.pg_prepared_xacts WHERE database = current_database() ORDER BY prepared LIMIT 1`
	var gid string
	var seconds int64
	if err := e.ask(ctx, q, query, nil, &gid, &seconds); err != nil || gid == "" {
		return err
	}
	old := time.Duration(seconds) * time.Second
	e.add("prepared transaction", fmt.Sprintf("%s since %v", gid, old),
		when(old >= longSnapshot, "until it is committed or rolled back, it keeps its locks, and vacuum cannot remove rows that died since"),
		fmt.Sprintf("run COMMIT PREPARED %s or ROLLBACK PREPARED %s", gid, gid))
	return nil
}

// slots looks for replication slots that retain dead rows for an absent standby.
func (e *examination) slots(ctx context.Context, q querier) error {
	const query = `
		SELECT slot_name::text, quote_literal(slot_name), active, age(xmin)::bigint FROM pg_catalog.pg_replication_slots
		WHERE xmin IS NOT NULL ORDER BY age(xmin) DESC LIMIT 1`
	var name, literal string
	var active bool
	var age int64
	if err := e.ask(ctx, q, query, nil, &name, &literal, &active, &age); err != nil || name == "" {
		return err
	}
	e.add("replication slot", fmt.Sprintf("%s holds %d transactions", name, age), when(!active, "it is not in use, and vacuum cannot remove rows that died since"),
		fmt.Sprintf("restart the standby, or run SELECT pg_drop_replication_slot(%s)", literal))
	return nil
}

// clock compares the store's clock, which is the server's, with the program's.
func (e *examination) clock(ctx context.Context, q querier) error {
	var now, latest int64
	before := time.Now()
	if err := e.ask(ctx, q, `SELECT plainjobs.now_micros(), coalesce((SELECT max(renewed_at) FROM plainjobs.worker), 0)`, nil, &now, &latest); err != nil {
		return err
	}
	took := time.Since(before)
	ahead := instant(now).Sub(before.Add(took / 2))
	problem := when((ahead-took).Abs() >= skew && (ahead+took).Abs() >= skew, // the time of the query does not explain the difference
		fmt.Sprintf("the server's clock, by which jobs become due, differs from this program's by %v", ahead.Round(time.Second)))
	if back := time.Duration(latest-now) * time.Microsecond; back >= skew {
		problem = fmt.Sprintf("a worker was last seen %v in the future: the server's clock has gone back", back.Round(time.Second))
	}
	e.add("clock", instant(now).Format("2006-01-02 15:04:05 MST"), problem, "synchronise the clocks of the server and of the programs")
	return nil
}

func (e *examination) connections(ctx context.Context, q querier) error {
	const query = `
		SELECT sum(numbackends)::bigint, current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
		FROM pg_catalog.pg_stat_database`
	var used, most int64
	if err := e.ask(ctx, q, query, nil, &used, &most); err != nil {
		return err
	}
	e.add("connections", fmt.Sprintf("%d of %d", used, most), when(used*10 >= most*9, "the server will soon refuse more"),
		"make the programs' pools smaller, use a connection pooler, or raise max_connections")
	return nil
}

// pooler checks whether two connections of this program share one server session.
// If so, a pooler between them lends sessions by transaction.
func (e *examination) pooler(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	seen := map[int64]int{}
	for range 2 {
		c, err := e.b.db.Conn(soon)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			break // the application uses the other connections
		}
		defer func() { _ = c.Close() }() // returns it to the pool
		var pid int64
		if err := e.ask(ctx, c, `SELECT pg_backend_pid()`, nil, &pid); err != nil {
			return err
		}
		seen[pid]++
	}
	value := "unknown: no free connection to test with"
	lends := false
	for _, n := range seen {
		switch {
		case n > 1:
			value, lends = "lends connections by transaction", true
		case len(seen) > 1:
			value = "none"
		}
	}
	e.add("pooler", value, when(lends && e.b.listens(), "LISTEN does not work through it: jobs of other processes are found by polling, within a second"),
		"set postgres.Options.NoListen, or connect to the server directly")
	return nil
}

func (b *Backend) listens() bool { return b.opts.Listen != nil && !b.opts.NoListen }

// listening checks whether this process receives notifications. A store that has
// just been opened gets listenGrace to begin.
func (e *examination) listening(ctx context.Context) error {
	e.b.watch.receive()
	for until := time.Now().Add(listenGrace); e.b.listens() && !e.b.watch.listening.Load() && time.Now().Before(until); {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	switch {
	case !e.b.listens():
		e.add("notifications", "none: jobs of other processes are found by polling, within a second", "", "")
	case e.b.watch.listening.Load():
		e.add("notifications", "listening", "", "")
	default:
		e.add("notifications", "not listening", "jobs of other processes are found by polling, within a second",
			"the log says why; behind a pooler, set postgres.Options.NoListen")
	}
	return nil
}

func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
