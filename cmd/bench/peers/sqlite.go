package main

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

// A sqliteDB opens a pool on the file at path, in WAL mode with a busy timeout
// of 5 s as the libraries' documentation has it, and the given synchronous.
type sqliteDB func(path, durability string) (*sql.DB, error)

var openModernc = modernc.Open

func moderncDB(path, durability string) (*sql.DB, error) {
	return sql.Open("sqlite", fileURL(path, "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&"+
		"_pragma=foreign_keys(1)&_pragma=synchronous("+durability+")"))
}

func fileURL(path, query string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query}).String()
}

// A sqliteStore is the common part of libraries that take a *sql.DB.
type sqliteStore struct {
	db *sql.DB // the library's
	// look is another connection, so that counting jobs does not take the
	// library's.
	look *sql.DB
}

func openSQLite(open sqliteDB, o order) (s sqliteStore, err error) {
	if s.db, err = open(o.Path, o.Durability); err != nil {
		return s, err
	}
	if s.look, err = open(o.Path, o.Durability); err != nil {
		return s, errors.Join(err, s.db.Close())
	}
	s.db.SetMaxOpenConns(1)
	s.db.SetMaxIdleConns(1)
	s.look.SetMaxOpenConns(1)
	return s, nil
}

func (s sqliteStore) count(ctx context.Context, query string) (n int, err error) {
	err = s.look.QueryRowContext(ctx, query).Scan(&n)
	return n, err
}

// durability reads the settings of the library's connection, as the DSN proves
// nothing.
func (s sqliteStore) durability(ctx context.Context) (pushes, work string, err error) {
	var journal string
	var synchronous int
	if err := s.db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&journal); err != nil {
		return "", "", err
	}
	if err := s.db.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&synchronous); err != nil {
		return "", "", err
	}
	if journal != "wal" {
		return "", "", errors.New("journal mode " + journal)
	}
	switch synchronous {
	case 2:
		return full, full, nil
	case 1:
		return normal, normal, nil
	}
	return "", "", errors.New("synchronous is neither NORMAL nor FULL")
}

func (s sqliteStore) closeDB() error { return errors.Join(s.db.Close(), s.look.Close()) }
