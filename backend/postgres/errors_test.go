package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
)

// A serverError is an error with a SQLSTATE, like those of drivers.
type serverError string

func (e serverError) Error() string    { return "ERROR: something (SQLSTATE " + string(e) + ")" }
func (e serverError) SQLState() string { return string(e) }

// Errors match the errors of package backend, give advice, and wrap the driver's.
func TestErrors(t *testing.T) {
	b := &Backend{opts: Options{Schema: "jobs"}, role: `the"app`}
	for code, c := range map[string]struct {
		kind  error
		texts []string
	}{
		codeWrongPassword: {nil, []string{"password", "pg_hba.conf"}},
		codeNoDatabase:    {nil, []string{"CREATE DATABASE"}},
		codeNoRight:       {nil, []string{`CREATE SCHEMA IF NOT EXISTS "jobs"`, `TO "the""app"`}},
		codeReadOnly:      {backend.ErrUnavailable, []string{"read-only replica", "target_session_attrs=read-write"}},
		codeDiskFull:      {backend.ErrNoSpace, []string{"disk is full"}},
		codeCancelled:     {backend.ErrUnavailable, []string{"statement_timeout", "ALTER ROLE"}},
		codeIdleInTx:      {backend.ErrUnavailable, []string{"idle_in_transaction_session_timeout"}},
		codeTxTooLong:     {backend.ErrUnavailable, []string{"transaction_timeout", "ALTER ROLE"}},
		codeNoStatement:   {nil, []string{"default_query_exec_mode=exec", "NoListen"}},
		codeSameStatement: {nil, []string{"pooler"}},
		codeDeadlock:      {backend.ErrUnavailable, []string{"WithTx"}},
		codeNoTable:       {backend.ErrCorrupt, []string{"schema jobs"}},
		codeDataCorrupt:   {backend.ErrCorrupt, nil},
		codeTooMany:       {backend.ErrUnavailable, []string{"max_connections", "CONNECTION LIMIT"}},
		"57P01":           {backend.ErrUnavailable, nil}, // terminated by an administrator
		"58030":           {backend.ErrUnavailable, nil}, // I/O error
		"42703":           {nil, nil},
	} {
		err := b.failed(t.Context(), "push", fmt.Errorf("driver: %w", serverError(code)))
		if got, ok := errors.AsType[serverError](err); !ok || string(got) != code {
			t.Errorf("%s: %v does not wrap the driver's error", code, err)
		}
		for _, kind := range []error{backend.ErrUnavailable, backend.ErrNoSpace, backend.ErrCorrupt} {
			if want := c.kind != nil && errors.Is(c.kind, kind); errors.Is(err, kind) != want {
				t.Errorf("%s: errors.Is(%v, %v) = %v", code, err, kind, errors.Is(err, kind))
			}
		}
		for _, text := range c.texts {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v does not say %q", code, err, text)
			}
		}
	}
	if !broken(serverError(codeTxTooLong)) {
		t.Error("broken does not report a session that transaction_timeout ended")
	}
	for _, err := range []error{driver.ErrBadConn, io.ErrUnexpectedEOF, &net.OpError{Op: "read", Err: io.EOF}} {
		if err := b.failed(t.Context(), "push", err); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("%v is not ErrUnavailable", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range []error{driver.ErrBadConn, serverError(codeCancelled), context.Canceled} {
		if err := b.failed(ctx, "push", err); !errors.Is(err, context.Canceled) {
			t.Errorf("after the context has ended, %v does not wrap its error", err)
		}
	}
	if err := b.failed(ctx, "heartbeat", rejected{backend.ErrWorkerGone}); !errors.Is(err, backend.ErrWorkerGone) {
		t.Errorf("an error found before the context ended is %v", err)
	}
}

func TestServerFault(t *testing.T) {
	if err := serverFault(minServer, "14.0", "UTF8", false); err != nil {
		t.Errorf("PostgreSQL 14 is refused: %v", err)
	}
	for text, err := range map[string]error{
		"version 14 or later":  serverFault(130022, "13.22", "UTF8", false),
		"UTF8":                 serverFault(160000, "16.0", "SQL_ASCII", false),
		"target_session_attrs": serverFault(160000, "16.0", "UTF8", true),
	} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("the error is %v, want it to say %q", err, text)
		}
	}
}

func TestRedact(t *testing.T) {
	for _, text := range []string{
		"parse \"postgres://user:s3cret@host:bad/db\": invalid port", "cannot parse `host=h password=s3cret port=x`",
		"cannot parse `host=h password='s3cret \\' s3cret' port=x`", "postgres://u:s3cret@h/db?sslpassword=s3cret&x=y", "PASSWORD = s3cret",
		"postgres://u@h/db?password=s3cret&sslmode=disable",
	} {
		inner := errors.New(text)
		err := Redact(inner)
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the password is in %v", err)
		}
		if !errors.Is(err, inner) {
			t.Errorf("%v does not wrap the driver's error", err)
		}
	}
	plain := errors.New("no route to host")
	if got := Redact(plain); got != plain { //nolint:errorlint // the error must be identical
		t.Errorf("an error without a password was changed to %v", got)
	}
}

func TestArrays(t *testing.T) {
	for got, want := range map[string]string{
		intArray([]int64{}):                     "{}",
		intArray([]int64{1, -2, 1 << 62}):       "{1,-2,4611686018427387904}",
		boolArray([]bool{true, false}):          "{t,f}",
		textArray(nil):                          "{}",
		textArray([]string{"", "a,b", `"\\{}`}): `{"","a,b","\"\\\\{}"}`,
	} {
		if got != want {
			t.Errorf("the array is %s, want %s", got, want)
		}
	}
	for text, want := range map[string]int{"{}": 0, "{7}": 1, "{1,-2,3}": 3} {
		if numbers, err := parseInts(text); err != nil || len(numbers) != want {
			t.Errorf("parseInts(%s) = %v, %v", text, numbers, err)
		}
	}
	if _, err := parseInts("{1,x}"); !errors.Is(err, backend.ErrCorrupt) {
		t.Errorf("parseInts of a text without numbers = %v", err)
	}
}
