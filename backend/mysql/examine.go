package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	// longTransaction is the age at which a transaction is a problem for a queue.
	longTransaction = time.Minute
	// skewed is how far clocks may differ.
	skewed = 2 * time.Second
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

// Examine implements [backend.Inspector]. It sees the transactions of other users only if the
// user has the right PROCESS.
func (b *Backend) Examine(ctx context.Context, req backend.ExamineRequest) ([]backend.Finding, error) {
	e := &examination{b: b}
	for _, check := range []func(context.Context, querier) error{e.server, e.durability, e.packet, e.numbers, e.transactions, e.clock, e.connections} {
		before := e.all
		err := b.read(ctx, "examine", func(q querier) error {
			e.all = before // read may run the function again
			return check(ctx, q)
		})
		if err != nil {
			return e.all, err
		}
	}
	leave, err := b.enter()
	if err != nil {
		return e.all, b.failed(ctx, "examine", err)
	}
	defer leave()
	if err := e.history(ctx); err != nil {
		return e.all, b.failed(ctx, "examine", err)
	}
	return e.all, b.failed(ctx, "examine", e.derived(ctx, req))
}

// history shows what bounds the bytes of finished jobs.
func (e *examination) history(ctx context.Context) error {
	text := ""
	err := e.b.transact(ctx, func(t *tx) error {
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
func (e *examination) ask(ctx context.Context, q querier, query string, into ...any) error {
	first := true
	return e.b.scan(ctx, q, query, nil, func(r *sql.Rows) error {
		if !first {
			return nil
		}
		first = false
		return r.Scan(into...)
	})
}

func (e *examination) server(ctx context.Context, q querier) error {
	var version string
	var readOnly bool
	if err := e.ask(ctx, q, `SELECT VERSION(), @@read_only`, &version, &readOnly); err != nil {
		return err
	}
	e.add("server", fmt.Sprintf("%s, database %s, tables %s*", version, e.b.server.database, e.b.opts.Prefix), "", "")
	role := "primary"
	if readOnly {
		role = "read-only"
	}
	e.add("role", role, when(readOnly, "the server is read-only"), "connect to the primary; on the primary, SET GLOBAL read_only = 0")
	return nil
}

func (e *examination) durability(ctx context.Context, q querier) error {
	var flush, sync int64
	var binlog, doublewrite bool
	if err := e.ask(ctx, q, `SELECT @@innodb_flush_log_at_trx_commit, @@sync_binlog, @@log_bin, @@innodb_doublewrite`, &flush, &sync, &binlog, &doublewrite); err != nil {
		return err
	}
	e.add("innodb_flush_log_at_trx_commit", fmt.Sprint(flush), when(flush != 1, "a power cut may lose the most recent jobs, up to a second"),
		"SET GLOBAL innodb_flush_log_at_trx_commit = 1, and in the server's configuration")
	if binlog {
		e.add("sync_binlog", fmt.Sprint(sync), when(sync != 1, "after a power cut the server may roll back the most recent jobs, because the binary log lacks them"),
			"SET GLOBAL sync_binlog = 1, and in the server's configuration")
	}
	e.add("innodb_doublewrite", fmt.Sprint(doublewrite), when(!doublewrite, "a power cut may damage the whole database"),
		"set innodb_doublewrite to 1 in the server's configuration")
	return nil
}

func (e *examination) packet(ctx context.Context, q querier) error {
	var packet int64
	if err := e.ask(ctx, q, `SELECT @@max_allowed_packet`, &packet); err != nil {
		return err
	}
	e.add("max_allowed_packet", fmt.Sprintf("%d: payloads of up to %d bytes", packet, e.b.server.maxPayload()),
		when(packet < e.b.server.packet, "it is less than when this program started: large payloads fail"), "restart this program, or raise it on the server")
	return nil
}

// numbers checks that new jobs get new IDs.
func (e *examination) numbers(ctx context.Context, q querier) error {
	var given, last int64
	if err := e.ask(ctx, q, selectLastID, &given); err != nil {
		return err
	}
	if err := e.ask(ctx, q, `SELECT COALESCE(MAX(id), 0) FROM plainjobs_job`, &last); err != nil {
		return err
	}
	e.add("job IDs", fmt.Sprintf("processes have drawn them up to %d", given),
		when(last > given, fmt.Sprintf("job %d exists: pushes may fail", last)), "doctor --repair")
	return nil
}

// transactions looks for a transaction that is open for long. InnoDB keeps the old version of
// every row that it may read, and claims read past those of the spans.
func (e *examination) transactions(ctx context.Context, q querier) error {
	const query = `
		SELECT trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started, NOW()), trx_isolation_level
		FROM information_schema.innodb_trx WHERE trx_mysql_thread_id <> CONNECTION_ID() ORDER BY trx_started LIMIT 1`
	var thread, seconds int64
	var level string
	err := e.ask(ctx, q, query, &thread, &seconds, &level)
	if number(err) == errPrivilege || number(err) == errTableDenied {
		e.add("oldest transaction", "unknown: the user lacks the right PROCESS", "", "")
		return nil
	}
	if err != nil {
		return err
	}
	if thread == 0 {
		e.add("oldest transaction", "none", "", "")
		return nil
	}
	old := time.Duration(seconds) * time.Second
	e.add("oldest transaction", fmt.Sprintf("%v, connection %d, %s", old, thread, level),
		when(old >= longTransaction, "while it is open, the server keeps old versions of the rows, and claims read past them; its locks may hold up jobs"),
		fmt.Sprintf("commit sooner, or end it: KILL %d", thread))
	return nil
}

// clock compares the store's clock, which is the server's, with the program's.
func (e *examination) clock(ctx context.Context, q querier) error {
	var current, latest int64
	before := time.Now()
	if err := e.ask(ctx, q, `SELECT `+now+`, (SELECT COALESCE(MAX(renewed_at), 0) FROM plainjobs_worker)`, &current, &latest); err != nil {
		return err
	}
	took := time.Since(before)
	ahead := instant(current).Sub(before.Add(took / 2))
	problem := when((ahead-took).Abs() >= skewed && (ahead+took).Abs() >= skewed, // the time of the query does not explain the difference
		fmt.Sprintf("the server's clock, by which jobs become due, differs from this program's by %v", ahead.Round(time.Second)))
	if back := time.Duration(latest-current) * time.Microsecond; back >= skewed {
		problem = fmt.Sprintf("a worker was last seen %v in the future: the server's clock has gone back", back.Round(time.Second))
	}
	e.add("clock", instant(current).Format("2006-01-02 15:04:05 MST"), problem, "synchronise the clocks of the server and of the programs")
	return nil
}

func (e *examination) connections(ctx context.Context, q querier) error {
	var name string
	var used, most int64
	if err := e.ask(ctx, q, `SHOW GLOBAL STATUS LIKE 'Threads_connected'`, &name, &used); err != nil {
		return err
	}
	if err := e.ask(ctx, q, `SELECT @@max_connections`, &most); err != nil {
		return err
	}
	e.add("connections", fmt.Sprintf("%d of %d", used, most), when(used*10 >= most*9, "the server will soon refuse more"),
		"make the programs' pools smaller, or raise max_connections")
	return nil
}
