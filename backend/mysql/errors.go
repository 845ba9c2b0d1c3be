package mysql

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

	"github.com/go-sql-driver/mysql"

	"github.com/plainjobs/plainjobs/backend"
)

// Numbers of the server's errors.
const (
	errDiskFull       = 1021
	errDiskFullMySQL  = 3675
	errSnapshot       = 1020 // the row changed after the snapshot was made (MariaDB 11)
	errConnections    = 1040
	errDatabaseDenied = 1044
	errDenied         = 1045
	errNoSelected     = 1046
	errWSREP          = 1047
	errNoDatabase     = 1049
	errShutdown       = 1053
	errDuplicate      = 1062
	errFull           = 1114
	errTableDenied    = 1142
	errNoTable        = 1146
	errTooLarge       = 1153
	errRollback       = 1180
	errUserLimit      = 1203
	errLockTimeout    = 1205
	errDeadlock       = 1213
	errColumnExists   = 1060
	errPrivilege      = 1227
	errNoEngine       = 1286
	errOption         = 1290 // for example --read-only
	errInterrupted    = 1317
	errBinlog         = 1665
	errReadOnlyTx     = 1792
	errReadOnlyServer = 1836
	errKilled         = 1927
	errNoSavepoint    = 1305
	errTimeout        = 1969 // max_statement_time (MariaDB)
	errTimeoutMySQL   = 3024
	errIdle           = 4031
)

// number returns the number of the server's error in err, or zero.
func number(err error) uint16 {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return e.Number
	}
	return 0
}

// conflicts reports whether a retry may succeed, because another transaction caused the error.
func conflicts(err error) bool {
	switch number(err) {
	case errDeadlock, errLockTimeout, errSnapshot, errRollback:
		return true
	}
	return errors.Is(err, errIDTaken)
}

// refused reports whether the server refused a statement, over a connection that works.
func refused(err error) bool { return number(err) != 0 && !broken(err) }

// broken reports whether the connection was lost, or none could be made.
func broken(err error) bool {
	if err == nil {
		return false
	}
	switch n := number(err); n {
	case 0:
	case errShutdown, errKilled, errIdle, 1152, 1158, 1159, 1160, 1161, 1184:
		return true
	default:
		return false
	}
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, mysql.ErrMalformPkt) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return strings.HasSuffix(err.Error(), "bad connection") // an error of the driver that it does not export
}

// diskFull reports whether the server had no space for a row, a log or a temporary file. Errors of
// files have the system's error in their text: 28 is ENOSPC.
func diskFull(err error) bool {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok {
		return false
	}
	switch e.Number {
	case errDiskFull, errFull, errDiskFullMySQL:
		return true
	case 3, 1026, 1030: // a file could not be written; an error of the storage engine
		return noSpace.MatchString(e.Message)
	}
	return false
}

var noSpace = regexp.MustCompile(`(?i)(?:errcode|errno|error):? 28\b`)

// demoted reports whether the connection leads to a server that accepts no writes, such as a
// former primary. A new connection may lead to its successor.
func demoted(err error) bool {
	switch number(err) {
	case errOption, errReadOnlyTx, errReadOnlyServer:
		return true
	}
	return false
}

// unreachable reports whether the server accepted no connection.
func unreachable(err error) bool {
	dial, ok := errors.AsType[*net.OpError](err)
	return ok && dial.Op == "dial"
}

// kind wraps err with the matching error of package backend, if there is one.
func kind(err error) error {
	var kind error
	switch n := number(err); {
	case diskFull(err):
		kind = backend.ErrNoSpace
	case n == errNoTable:
		kind = backend.ErrCorrupt
	case n == errConnections, n == errUserLimit, n == 1226, n == errWSREP, n == errInterrupted, n == errTimeout, n == errTimeoutMySQL,
		demoted(err), conflicts(err), broken(err):
		kind = backend.ErrUnavailable
	case n == errTooLarge, errors.Is(err, mysql.ErrPktTooLarge):
		kind = backend.ErrInvalid
	default:
		return err
	}
	if errors.Is(err, kind) {
		return err
	}
	return fmt.Errorf("%w: %w", kind, err)
}

// explain adds advice to the errors that users of MariaDB commonly meet.
func (b *Backend) explain(err error) error {
	advice := ""
	switch n := number(err); {
	case n == errDenied:
		advice = "the server refused the user or its password; check both, and from which hosts the user may connect (SELECT user, host FROM mysql.user)"
	case n == errDatabaseDenied, n == errTableDenied, n == errPrivilege:
		advice = "the user lacks a right; run as an administrator: " + b.grants()
	case n == errNoDatabase:
		advice = "the database does not exist; create it: CREATE DATABASE name"
	case n == errNoSelected:
		advice = "the DSN names no database; write it after the slash"
	case demoted(err):
		advice = "the server is a read-only replica, or read_only is set; a queue needs to write: connect to the primary"
	case diskFull(err):
		advice = "the server's disk is full; free space on it (deleting jobs needs space, too)"
	case n == errConnections, n == errUserLimit, n == 1226:
		advice = "the server has no connection left for the user; make the programs' pools smaller, or raise max_connections or max_user_connections"
	case n == errTimeout, n == errTimeoutMySQL:
		advice = "max_statement_time or max_execution_time cancelled the statement; allow the queue's user more time"
	case n == errNoEngine:
		advice = "the server does not have InnoDB, which a queue needs; start it without --skip-innodb"
	case n == errBinlog:
		advice = "binlog_format is STATEMENT, with which READ COMMITTED transactions cannot write; set binlog_format to ROW or MIXED"
	case n == errTooLarge, errors.Is(err, mysql.ErrPktTooLarge):
		advice = "a payload or a result is larger than a packet may be; raise max_allowed_packet on the server, and in the DSN if it is set there, " +
			"or store the data elsewhere and pass a reference"
	case conflicts(err):
		advice = fmt.Sprintf("other transactions held its locks for %v; if a transaction of this program waits for this call, neither ends: "+
			"enqueue in that transaction with Queue.WithTx", lockWait)
	case n == errNoTable:
		advice = fmt.Sprintf("tables whose names begin with %s are missing; reopen the queue to create them, or restore a backup", b.opts.Prefix)
	default:
		return err
	}
	return fmt.Errorf("%s: %w", advice, err)
}

// grants returns the SQL that gives the store's user the rights it needs.
func (b *Backend) grants() string {
	user := b.user
	if user == "" {
		user = "'user'@'host'"
	}
	database := b.server.database
	if database == "" {
		database = "name"
	}
	return fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, CREATE VIEW, ALTER, INDEX, DROP ON %s.* TO %s", quoteName(database), user)
}

// quoteName quotes an identifier.
func quoteName(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// failed wraps err, which ended the operation op, once. The driver reports a cancelled context
// in different ways, so the context itself is checked.
func (b *Backend) failed(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		if n := number(err); n == 0 && !errors.As(err, new(rejected)) || n == errInterrupted || conflicts(err) || broken(err) {
			return fmt.Errorf("mysql: %s: %w", op, cause)
		}
	}
	return fmt.Errorf("mysql: %s: %w", op, b.explain(kind(err)))
}

// A rejected error was found by the request itself, not by the database.
type rejected struct{ error }

func (r rejected) Unwrap() error { return r.error }

// secret matches a password in a DSN.
var secret = regexp.MustCompile(`([^\s:/"']*:)[^\s"']*(@(?:tcp|unix|[^\s/]*)\()`)

// redact returns err without a password, should a driver show a DSN.
func redact(err error) error {
	text := err.Error()
	if clean := secret.ReplaceAllString(text, "${1}xxxxx${2}"); clean != text {
		return &redactedError{clean, err}
	}
	return err
}

// A redactedError replaces an error whose text contained a password.
type redactedError struct {
	text string
	err  error
}

func (r *redactedError) Error() string { return r.text }
func (r *redactedError) Unwrap() error { return r.err }
