package sqlite

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

var (
	// These match the beginnings of DSNs of SQLite and of servers, the keywords of
	// servers, and the parameters of SQLite. A single letter before a colon is a drive.
	sqliteScheme = regexp.MustCompile(`(?i)^(file|sqlite3?|libsql):`)
	otherScheme  = regexp.MustCompile(`(?i)^([a-z][a-z0-9+.-]*)://`)
	serverWords  = regexp.MustCompile(`(?i)^\s*(host|hostaddr|port|dbname|user|password|passfile|service|sslmode)\s*=`)
	serverCall   = regexp.MustCompile(`@(tcp|unix)?\(`)
	sqliteQuery  = regexp.MustCompile(`(?i)\?_?[a-z][a-z0-9_]*=`)
)

// notDSN returns an error if a path is a DSN. The DSN would become the name of a file,
// which a program that opens the DSN would not find. The error does not contain the
// DSN, which may have a password.
func notDSN(path string) error {
	existing := ""
	if _, err := os.Lstat(path); err == nil {
		existing = "; a file with exactly this name exists: if it has your jobs, stop what uses it, and rename it and its -wal"
	}
	own := "; for settings of your own, give sqlite.New a *sql.DB that sql.Open has opened with the DSN"
	name, _, _ := strings.Cut(path, "?")
	bare := sqliteScheme.ReplaceAllString(name, "")
	switch scheme := otherScheme.FindStringSubmatch(path); {
	case sqliteScheme.MatchString(path) && (strings.Contains(path, ":memory:") || strings.Contains(path, "mode=memory")):
		return fmt.Errorf("%w: it is a DSN, and Open takes the path of a file: give \":memory:\"%s", backend.ErrInvalid, own)
	case sqliteScheme.MatchString(path), sqliteQuery.MatchString(path) && scheme == nil:
		bare = strings.TrimPrefix(bare, "//")
		return fmt.Errorf("%w: it is a DSN, and Open takes the path of a file: give %q%s%s", backend.ErrInvalid, bare, own, existing)
	case scheme != nil && strings.HasPrefix(strings.ToLower(scheme[1]), "postgres"), serverWords.MatchString(path):
		return fmt.Errorf("%w: it is the DSN of a PostgreSQL database, and Open takes the path of a SQLite file: "+
			"pgx.Open in backend/postgres/pgx takes it%s", backend.ErrInvalid, existing)
	case scheme != nil, serverCall.MatchString(path):
		return fmt.Errorf("%w: it is the DSN of a server, and Open takes the path of a SQLite file%s", backend.ErrInvalid, existing)
	}
	return nil
}

// A noQueue is the error of opening a database without a queue with NoMigrate.
type noQueue struct {
	text string
	kind error // what it matches besides ErrSchemaTooOld, or nil
}

func (e *noQueue) Error() string { return e.text }

func (e *noQueue) Unwrap() error { return e.kind }

// Is makes it match [backend.ErrSchemaTooOld], like other schemas that need a change.
func (e *noQueue) Is(target error) bool { return target == backend.ErrSchemaTooOld }

// fileDSN returns a DSN that means the same to all drivers.
func fileDSN(path string) string {
	path = filepath.ToSlash(path)
	if path[0] != '/' { // C:/…
		path = "/" + path
	}
	// SQLite gives the -wal file the database's mode, ncruces only with modeof. SQLite
	// does not decode a plus sign as a space.
	query := "modeof=" + strings.ReplaceAll(url.QueryEscape(path), "+", "%20")
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query}).String()
}
