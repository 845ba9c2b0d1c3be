// Package pgx keeps jobs in PostgreSQL through github.com/jackc/pgx/v5. It
// registers the driver names "pgx" and "pgx/v5".
//
//	store, err := pgx.Open(os.Getenv("DATABASE_URL"), nil)
//	queue := plainjobs.New(store, nil)
//
// Workers that wait are told of new jobs by LISTEN, on one connection of their
// own. For jobs in the application's transactions, a *sql.DB that pgx's package
// stdlib has opened goes to postgres.New, together with [Listen]; a transaction
// of a native pool goes through [AsSQL].
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
// "host=… dbname=…"; what it leaves out is taken from the environment, as by
// psql. See [postgres.New].
//
// Unless the DSN has a connect_timeout, a host has 10 seconds to answer, and each
// of several 3. It should be less than a third of the workers' lease. With several
// hosts, add target_session_attrs=read-write. Behind a pooler that
// lends connections by transaction and keeps no prepared statements, add
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

// parse returns what a DSN says, and what it should have said.
func parse(dsn string) (*driver.ConnConfig, error) {
	config, err := driver.ParseConfig(dsn)
	if err != nil {
		return nil, unreadable(err)
	}
	if strings.Contains(dsn, "://") && !strings.Contains(dsn, "%40") && strings.Contains(config.Host+config.Database, "@") {
		return nil, errors.New("the DSN cannot be read: an @ in the user or the password is written %40, a / is %2F")
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

// quoted matches a part of a DSN in the text of an error.
var quoted = regexp.MustCompile(`"[^"]*"`)

// unreadable returns what is wrong with a DSN without any part of the DSN, in which
// the driver does not find every password that it must not show.
func unreadable(err error) error {
	text := err.Error()
	if at := strings.LastIndex(text, "`: "); at >= 0 {
		text = text[at+len("`: "):]
	}
	return fmt.Errorf("the DSN cannot be read: %w", postgres.Redact(errors.New(quoted.ReplaceAllString(text, `"…"`))))
}

// maxConns is how many connections a store opens, besides the one that
// listens. Calls beyond that wait for each other, which is cheaper than what
// more connections cost the server.
const maxConns = 8

// How long a host may take to answer, and one of several. One that has lost its
// power never does: a call without a deadline would never end, and another before
// the next host is asked.
const (
	connectTimeout = 10 * time.Second
	hostTimeout    = 3 * time.Second
)

// severalHosts reports whether there is another host to ask; what else pgx falls
// back to is the same one without TLS.
func severalHosts(config *driver.ConnConfig) bool {
	return slices.ContainsFunc(config.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.Host != config.Host || f.Port != config.Port })
}

// Listen returns what [postgres.Options] needs to be told of other processes'
// jobs, for a store on a *sql.DB of the application.
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
