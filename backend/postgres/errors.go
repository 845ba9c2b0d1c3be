package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// SQLSTATE codes (https://www.postgresql.org/docs/current/errcodes-appendix.html).
const (
	codeReadOnly      = "25006"
	codeIdleInTx      = "25P03"
	codeTxTooLong     = "25P04"
	codeUnique        = "23505"
	codeNoStatement   = "26000"
	codeNoAuth        = "28000"
	codeWrongPassword = "28P01"
	codeNoDatabase    = "3D000"
	codeNoSchema      = "3F000"
	codeSerialization = "40001"
	codeDeadlock      = "40P01"
	codeNoRight       = "42501"
	codeSyntax        = "42601"
	codeNoTable       = "42P01"
	codeSameStatement = "42P05"
	codeSameTable     = "42P07"
	codeSameObject    = "42710"
	codeSameFunction  = "42723"
	codeDiskFull      = "53100"
	codeTooMany       = "53300"
	codeLockTimeout   = "55P03"
	codeCancelled     = "57014"
	codeStarting      = "57P03"
	codeDataCorrupt   = "XX001"
	codeIndexCorrupt  = "XX002"
)

// code returns the SQLSTATE in err, or an empty string. The supported drivers'
// errors all have this method.
func code(err error) string {
	if s, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return s.SQLState()
	}
	return ""
}

// conflicts reports whether a retry may succeed, because another transaction
// caused the error.
func conflicts(err error) bool {
	switch code(err) {
	case codeSerialization, codeDeadlock, codeLockTimeout:
		return true
	}
	return false
}

// refused reports whether the server refused a statement, over a connection that works.
func refused(err error) bool { return code(err) != "" && !broken(err) }

// broken reports whether the connection was lost, or none could be made.
func broken(err error) bool {
	if c := code(err); c != "" {
		return strings.HasPrefix(c, "08") || strings.HasPrefix(c, "57P") || c == codeIdleInTx || c == codeTxTooLong
	}
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	_, ok := errors.AsType[interface { // pgx's errors for a connection that is closed or was never made
		error
		SafeToRetry() bool
	}](err)
	return ok
}

// demoted reports whether the connection leads to a server that no longer accepts
// writes, such as a former primary. A new connection may lead to its successor.
func demoted(err error) bool { return code(err) == codeReadOnly }

// unreachable reports whether the server accepted no connection.
func unreachable(err error) bool {
	dial, ok := errors.AsType[*net.OpError](err)
	return ok && dial.Op == "dial" || code(err) == codeStarting
}

// kind wraps err with the matching error of package backend, if there is one.
func kind(err error) error {
	var kind error
	switch c := code(err); {
	case c == codeDiskFull:
		kind = backend.ErrNoSpace
	case c == codeDataCorrupt, c == codeIndexCorrupt, c == codeNoTable, c == codeNoSchema:
		kind = backend.ErrCorrupt
	case strings.HasPrefix(c, "53"), strings.HasPrefix(c, "58"), c == codeCancelled, c == codeReadOnly, conflicts(err), broken(err):
		kind = backend.ErrUnavailable
	default:
		return err
	}
	if errors.Is(err, kind) {
		return err
	}
	return fmt.Errorf("%w: %w", kind, err)
}

// explain adds advice to the errors that users of PostgreSQL commonly meet.
func (b *Backend) explain(err error) error {
	advice := ""
	switch code(err) {
	case codeWrongPassword, codeNoAuth:
		advice = "the server refused the role or its password; check both, and pg_hba.conf on the server"
	case codeNoDatabase:
		advice = "the database does not exist; create it: CREATE DATABASE name ENCODING 'UTF8'"
	case codeReadOnly:
		advice = "the server is a read-only replica, or default_transaction_read_only is set; a queue needs to write: connect to the primary " +
			"(target_session_attrs=read-write in the DSN)"
	case codeDiskFull:
		advice = "the server's disk is full; free space on it (deleting jobs needs space, too)"
	case codeTooMany:
		advice = "the server has no connection left for the role; make the programs' pools smaller, use a connection pooler, " +
			"or raise max_connections or the role's CONNECTION LIMIT"
	case codeCancelled:
		advice = "statement_timeout, or an administrator, cancelled the statement; allow the queue's role more time: " +
			"ALTER ROLE name SET statement_timeout = '30s'"
	case codeIdleInTx:
		advice = "idle_in_transaction_session_timeout ended the idle transaction; commit sooner, or allow the role " +
			"more time: ALTER ROLE name SET idle_in_transaction_session_timeout = '1min'"
	case codeTxTooLong:
		advice = "transaction_timeout ended the transaction; commit sooner, or allow the role more time: " +
			"ALTER ROLE name SET transaction_timeout = '1min'"
	case codeLockTimeout, codeDeadlock, codeSerialization:
		advice = fmt.Sprintf("other transactions held its locks for %v; if a transaction of this program waits for this call, neither ends: "+
			"enqueue in that transaction with Queue.WithTx", lockWait)
	case codeNoStatement, codeSameStatement:
		advice = "a pooler lends connections by transaction and keeps no prepared statements; add default_query_exec_mode=exec to the DSN " +
			"(pgx; binary_parameters=yes for lib/pq) and set postgres.Options.NoListen"
	case codeUnique:
		if !strings.Contains(err.Error(), "job_pkey") {
			return err
		}
		advice = "the sequence of job IDs is behind the table, for example because rows were restored without it; run: " + b.raiseSequence()
	case codeNoRight:
		advice = "the role lacks a right; run as the owner of the database: " + b.grants()
	case codeNoTable, codeNoSchema:
		advice = fmt.Sprintf("tables of the schema %s are missing; reopen the queue to create them, or restore a backup", b.opts.Schema)
	default:
		return err
	}
	return fmt.Errorf("%s: %w", advice, err)
}

// raiseSequence returns the SQL that sets the sequence of job IDs to the last job.
func (b *Backend) raiseSequence() string {
	return b.sql(`SELECT setval(pg_get_serial_sequence('plainjobs.job', 'id'), (SELECT max(id) FROM plainjobs.job))`)
}

// grants returns the SQL that gives the store's role the rights it needs.
func (b *Backend) grants() string {
	const text = `CREATE SCHEMA IF NOT EXISTS "{s}"; GRANT USAGE, CREATE ON SCHEMA "{s}" TO {r}; ` +
		`GRANT ALL ON ALL TABLES IN SCHEMA "{s}" TO {r}; GRANT ALL ON ALL SEQUENCES IN SCHEMA "{s}" TO {r}; ` +
		`GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA "{s}" TO {r}`
	return strings.NewReplacer("{s}", b.opts.Schema, "{r}", quoteName(b.role)).Replace(text)
}

// failed wraps err, which ended the operation op, once. Drivers report a cancelled
// context in different ways, so the context itself is checked.
func (b *Backend) failed(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		if c := code(err); c == "" && !errors.As(err, new(rejected)) || c == codeCancelled || conflicts(err) || broken(err) {
			return fmt.Errorf("postgres: %s: %w", op, cause)
		}
	}
	return fmt.Errorf("postgres: %s: %w", op, b.explain(kind(err)))
}

// A rejected error was found by the request itself, not by the database.
type rejected struct{ error }

func (r rejected) Unwrap() error { return r.error }

var secrets = []*regexp.Regexp{
	regexp.MustCompile(`(://[^:@/\s]*:)[^\s]*(@)`),
	regexp.MustCompile(`(?i)((?:pass|ssl)password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s'"&` + "`" + `]+)`),
	regexp.MustCompile(`(?i)(password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s'"&` + "`" + `]+)`),
}

// A redactedError replaces an error whose text contained a password.
type redactedError struct {
	text string
	err  error
}

func (d *redactedError) Error() string { return d.text }
func (d *redactedError) Unwrap() error { return d.err }

// Redact returns err without the passwords that drivers include in the text of
// errors about a DSN.
func Redact(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for i, secret := range secrets {
		if i == 0 {
			text = secret.ReplaceAllString(text, "${1}xxxxx${2}")
		} else {
			text = secret.ReplaceAllString(text, "${1}xxxxx")
		}
	}
	if text == err.Error() {
		return err
	}
	return &redactedError{text, err}
}
