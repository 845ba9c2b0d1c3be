// Package pgx keeps jobs in PostgreSQL through github.com/jackc/pgx/v5. It
// registers the driver names "pgx" and "pgx/v5".
//
//	store, err := pgx.Open(os.Getenv("DATABASE_URL"), nil)
//	queue := plainjobs.New(store, nil)
//
// LISTEN, on a separate connection, notifies waiting workers of new jobs. To enqueue
// jobs in the application's transactions, pass a *sql.DB opened by pgx's package
// stdlib to postgres.New, together with [Listen]. For a transaction of a native pool
// use [WithTx].
package pgx

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	driver "github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/plainjobs/plainjobs/backend/postgres"
)

// Open opens the store in the database that dsn names, as a URL or as
// "host=… dbname=…". Environment variables supply what the DSN omits, as with psql.
// See [postgres.New].
//
// Unless the DSN has a connect_timeout, a single host has 10 seconds to answer, and
// each of several hosts 3. The timeout should be less than a third of the workers'
// lease. With several hosts, add target_session_attrs=read-write. Behind a pooler
// that lends connections by transaction and keeps no prepared statements, add
// default_query_exec_mode=exec and set NoListen.
func Open(dsn string, opts *postgres.Options) (*postgres.Backend, error) {
	config, err := parse(dsn)
	if err != nil {
		return nil, fmt.Errorf("postgres: open: %w", err)
	}
	o := postgres.Options{}
	if opts != nil {
		o = *opts
	}
	if o.Listen == nil {
		o.Listen = Listen(config)
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	return postgres.Open(db, &o)
}

// parse parses a DSN and adds the defaults of [Open].
func parse(dsn string) (*driver.ConnConfig, error) {
	config, err := driver.ParseConfig(dsn)
	if err != nil {
		return nil, unreadable(err)
	}
	if strings.Contains(dsn, "://") && !strings.Contains(dsn, "%40") && strings.Contains(config.Host+config.Database, "@") {
		return nil, errors.New("the DSN is invalid: write %40 for an @ and %2F for a / in the user or password")
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "plainjobs"
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
		if severalHosts(config) {
			config.ConnectTimeout = hostTimeout
		}
	}
	return config, nil
}

// quoted matches a quoted part of a DSN in an error's text.
var quoted = regexp.MustCompile(`"[^"]*"`)

// unreadable returns the reason why a DSN is invalid without any part of the DSN: the
// driver does not recognize every password that it must not show.
func unreadable(err error) error {
	text := err.Error()
	if at := strings.LastIndex(text, "`: "); at >= 0 {
		text = text[at+len("`: "):]
	}
	return fmt.Errorf("the DSN is invalid: %w", postgres.Redact(errors.New(quoted.ReplaceAllString(text, `"…"`))))
}

// maxConns bounds the connections of a store, not counting the one that listens.
// More calls wait for each other, which costs less than more connections cost the
// server.
const maxConns = 8

// How long a single host, or one of several, may take to answer. A host without power
// never answers: a call without a deadline would never end, and a call with several
// hosts would end before the next one is tried.
const (
	connectTimeout = 10 * time.Second
	hostTimeout    = 3 * time.Second
)

// severalHosts reports whether there is another host to try. pgx's other fallbacks
// are the same host without TLS.
func severalHosts(config *driver.ConnConfig) bool {
	return slices.ContainsFunc(config.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.Host != config.Host || f.Port != config.Port })
}

// Listen returns the [postgres.Options] value that receives other processes'
// notifications, for a store on a *sql.DB of the application.
func Listen(config *driver.ConnConfig) postgres.ListenFunc {
	config = config.Copy()
	return func(ctx context.Context, channel string, ready func(), heard func(string)) error {
		conn, err := driver.ConnectConfig(ctx, config)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		if _, err := conn.Exec(ctx, "LISTEN "+driver.Identifier{channel}.Sanitize()); err != nil {
			return err
		}
		ready()
		for {
			n, err := conn.WaitForNotification(ctx)
			if err != nil {
				return err
			}
			heard(n.Payload)
		}
	}
}
