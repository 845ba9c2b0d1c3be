package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"regexp"
	"strings"
	"syscall"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

// SQLite's primary result codes (https://www.sqlite.org/rescode.html).
const (
	codeError     = 1
	codeBusy      = 5
	codeLocked    = 6
	codeReadonly  = 8
	codeInterrupt = 9
	codeIOErr     = 10
	codeCorrupt   = 11
	codeFull      = 13
	codeCantOpen  = 14
	codeNotADB    = 26

	codeBusySnapshot       = 517
	codeIOErrWrite         = 778
	codeConstraintNotNull  = 1299
	codeConstraintDatatype = 3091
)

// resultCode returns the extended result code in err. Importing a driver would register
// it, so the errors are recognised by their shape: modernc's have Code() int, ncruces's
// have ExtendedCode() or are a bare code, mattn's are structs with two fields.
func resultCode(err error) (int, bool) {
	switch e := err.(type) { //nolint:errorlint // each layer is checked in turn
	case nil:
		return 0, false
	case interface{ Code() int }:
		return e.Code(), true
	}
	if v := reflect.ValueOf(err); strings.Contains(packageOf(v.Type()), "sqlite") {
		if code, ok := codeByShape(v, err); ok {
			return code, true
		}
	}
	switch e := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() error }:
		return resultCode(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, e := range e.Unwrap() {
			if code, ok := resultCode(e); ok {
				return code, true
			}
		}
	}
	return 0, false
}

func packageOf(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath()
}

func codeByShape(v reflect.Value, err error) (int, bool) {
	switch v.Kind() {
	case reflect.Uint8, reflect.Uint16:
		if _, ok := err.(interface{ Temporary() bool }); ok {
			return int(v.Uint()), true
		}
	case reflect.Pointer:
		m := v.MethodByName("ExtendedCode")
		if m.IsValid() && m.Type().NumIn() == 0 && m.Type().NumOut() == 1 && m.Type().Out(0).Kind() == reflect.Uint16 {
			return int(m.Call(nil)[0].Uint()), true
		}
	case reflect.Struct:
		code, extended := v.FieldByName("Code"), v.FieldByName("ExtendedCode")
		if code.IsValid() && extended.IsValid() && code.CanInt() && extended.CanInt() {
			if extended.Int() != 0 {
				return int(extended.Int()), true
			}
			return int(code.Int()), true
		}
	}
	return 0, false
}

func primaryCode(err error) int {
	code, _ := resultCode(err)
	return code & 0xff
}

// busy reports whether err says that the database is locked, so that a retry may help.
func busy(err error) bool {
	code := primaryCode(err)
	return code == codeBusy || code == codeLocked
}

// kind wraps err with the error of package backend that it matches.
func kind(err error) error {
	var kind error
	switch primaryCode(err) {
	case codeBusy, codeLocked:
		kind = backend.ErrUnavailable
	case codeFull:
		kind = backend.ErrNoSpace
	case codeIOErr, codeReadonly, codeCantOpen:
		kind = backend.ErrUnavailable
		if diskFull(err) || errors.Is(err, backend.ErrNoSpace) {
			kind = backend.ErrNoSpace
		}
	case codeCorrupt, codeNotADB:
		kind = backend.ErrCorrupt
	default:
		switch {
		case diskFull(err):
			kind = backend.ErrNoSpace
		case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), errors.Is(err, syscall.EIO):
			kind = backend.ErrUnavailable
		case unsuitable(err), primaryCode(err) == codeError && lacksColumn.MatchString(err.Error()):
			kind = backend.ErrCorrupt
		default:
			return err
		}
	}
	if errors.Is(err, kind) {
		return err
	}
	return fmt.Errorf("%w: %w", kind, err)
}

// lacksColumn matches SQLite's errors for a column or an index that is not there. The tables have
// them all when they are opened, so the schema is damaged.
var lacksColumn = regexp.MustCompile(`no such column: |has no column named |no such index: `)

// diskFull reports whether the operating system reported no space: on the disk, in the
// user's quota, or because a file has its maximum size. SQLite's VFS returns FULL only
// for the first, that of ncruces for none. The system's error is in the chain with
// ncruces, in a field with mattn, and lost with modernc.
func diskFull(err error) bool {
	var code syscall.Errno
	if !errors.As(err, &code) {
		code = systemErrno(err)
	}
	return code == syscall.ENOSPC || code == syscall.EDQUOT || code == syscall.EFBIG
}

// systemErrno returns the system's error in an error of mattn, or 0.
func systemErrno(err error) syscall.Errno {
	for ; err != nil; err = errors.Unwrap(err) {
		if v := reflect.ValueOf(err); v.Kind() == reflect.Struct && strings.Contains(packageOf(v.Type()), "sqlite") {
			if f := v.FieldByName("SystemErrno"); f.IsValid() && f.CanUint() {
				return syscall.Errno(f.Uint())
			}
		}
	}
	return 0
}

// unsuitable reports whether err is about a value that no column can have. The tables
// are STRICT and NOT NULL, so a page is damaged.
func unsuitable(err error) bool {
	code, _ := resultCode(err)
	return code == codeConstraintDatatype || code == codeConstraintNotNull ||
		strings.Contains(err.Error(), "sql: Scan error on column") // database/sql has no type for it
}

// failed wraps the error of an operation. Drivers return different errors for a
// cancelled context, so it checks the context.
func failed(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		if code := primaryCode(err); code == codeInterrupt || code == codeBusy || code == 0 {
			return fmt.Errorf("sqlite: %s: %w", op, cause)
		}
	}
	return fmt.Errorf("sqlite: %s: %w", op, kind(err))
}

// explainPermission adds to an error which database file this process may not use,
// if that is its cause.
func explainPermission(path string, err error) error {
	code := primaryCode(err)
	if path == "" || code != codeReadonly && code != codeCantOpen && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if reason := host.Forbidden(path); reason != nil {
		return fmt.Errorf("%w: %w", reason, err)
	}
	return err
}
