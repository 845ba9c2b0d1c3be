package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/plainjobs/plainjobs/backend"
)

// maxConns bounds the connections of a store. More calls wait for each other.
const maxConns = 8

// connectTimeout is how long the server may take to answer.
const connectTimeout = 10 * time.Second

// connect returns a pool for a DSN, and whether several statements may be sent at once.
func connect(dsn string) (_ *sql.DB, batches bool, err error) {
	config, err := parse(dsn)
	if err != nil {
		return nil, false, err
	}
	inner, err := mysql.NewConnector(config)
	if err != nil {
		return nil, false, invalidDSN("the driver refuses a parameter")
	}
	db := sql.OpenDB(connector{inner})
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	return db, config.MultiStatements && config.InterpolateParams, nil
}

// invalidDSN is an error about a DSN, of which it shows no part.
func invalidDSN(why string) error {
	return fmt.Errorf("%w: the DSN is invalid: %s: write user:password@tcp(host:3306)/database?parameter=value, "+
		"or mysql://user:password@host:3306/database?parameter=value with %%40 for an @ in the password", backend.ErrInvalid, why)
}

// parse parses a DSN and sets what the store needs.
func parse(dsn string) (*mysql.Config, error) {
	if strings.HasPrefix(dsn, "mysql://") || strings.HasPrefix(dsn, "mariadb://") {
		var err error
		if dsn, err = fromURL(dsn); err != nil {
			return nil, err
		}
	}
	config, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, invalidDSN("it has the wrong form, or an unknown value of a parameter")
	}
	if config.DBName == "" {
		return nil, invalidDSN("it names no database")
	}
	if config.Timeout == 0 {
		config.Timeout = connectTimeout
	}
	if config.MaxAllowedPacket == mysql.NewConfig().MaxAllowedPacket {
		config.MaxAllowedPacket = 0 // the server's
	}
	if !strings.Contains(dsn, "interpolateParams=") {
		config.InterpolateParams = true
	}
	if !strings.Contains(dsn, "multiStatements=") {
		config.MultiStatements = true
	}
	config.Logger = &mysql.NopLogger{} // the store returns these errors
	return config, nil
}

// fromURL returns the driver's form of a URL.
func fromURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", invalidDSN("the URL has the wrong form")
	}
	config := mysql.NewConfig()
	config.User = u.User.Username()
	config.Passwd, _ = u.User.Password()
	config.Net, config.Addr = "tcp", u.Host
	if u.Port() == "" {
		config.Addr = u.Host + ":3306"
	}
	if socket := u.Query().Get("socket"); socket != "" {
		config.Net, config.Addr = "unix", socket
	}
	config.DBName = strings.TrimPrefix(u.Path, "/")
	dsn := config.FormatDSN()
	query := u.Query()
	query.Del("socket")
	if len(query) == 0 {
		return dsn, nil
	}
	mark := "?"
	if strings.Contains(dsn[strings.LastIndexByte(dsn, '/'):], "?") {
		mark = "&"
	}
	return dsn + mark + query.Encode(), nil
}

// A connector sets the store's sessions up.
type connector struct{ driver.Connector }

// In a comment that MySQL skips, what only MariaDB has.
var sessionSettings = []string{
	`SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED`,
	`SET SESSION innodb_lock_wait_timeout = 10 /*M! , idle_transaction_timeout = 30 */`,
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	for _, statement := range sessionSettings {
		if _, err := conn.(driver.ExecerContext).ExecContext(ctx, statement, nil); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return conn, nil
}
