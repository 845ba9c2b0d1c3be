package harness

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/go-sql-driver/mysql"
)

// errMariaDB says what a DSN is like, and shows no part of the given one.
var errMariaDB = errors.New("mariadb: the DSN is invalid: write user:password@tcp(host:3306)/")

// openMariaDB returns a pool for a database of a server; without a name, for none.
func openMariaDB(dsn, database string) (*sql.DB, error) {
	config, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, errMariaDB
	}
	config.DBName = database
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, errMariaDB
	}
	return sql.OpenDB(connector), nil
}

// OnMariaDB calls f with a pool of its own.
func OnMariaDB(ctx context.Context, dsn string, f func(context.Context, *sql.DB) error) error {
	ctx, cancel := context.WithTimeout(ctx, serverWait)
	defer cancel()
	db, err := openMariaDB(dsn, "")
	if err == nil {
		err = errors.Join(f(ctx, db), db.Close())
	}
	if err != nil && !errors.Is(err, errMariaDB) {
		return fmt.Errorf("mariadb: %w", err)
	}
	return err
}

// DatabaseDSN creates the database of a run, unless it exists, and returns its DSN.
func DatabaseDSN(ctx context.Context, dsn, database string) (string, error) {
	err := OnMariaDB(ctx, dsn, func(ctx context.Context, db *sql.DB) error {
		_, err := db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS "+database)
		return err
	})
	if err != nil {
		return "", err
	}
	config, err := mysql.ParseDSN(dsn)
	if err != nil {
		return "", errMariaDB
	}
	config.DBName = database
	return config.FormatDSN(), nil
}

// OpenDatabase opens a pool for the database of a run.
func OpenDatabase(ctx context.Context, dsn, database string) (*sql.DB, error) {
	own, err := DatabaseDSN(ctx, dsn, database)
	if err != nil {
		return nil, err
	}
	return openMariaDB(own, database)
}

// DropDatabase drops the database of a run, also if ctx has ended.
func DropDatabase(ctx context.Context, dsn, database string) error {
	return OnMariaDB(context.WithoutCancel(ctx), dsn, func(ctx context.Context, db *sql.DB) error {
		_, err := db.ExecContext(ctx, "DROP DATABASE IF EXISTS "+database)
		return err
	})
}
