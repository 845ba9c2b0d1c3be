package pgx

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A host that accepts a connection and never answers, for example behind a broken
// balancer, blocks no call forever.
func TestConnectTimeout(t *testing.T) {
	for dsn, want := range map[string]time.Duration{
		"host=a":                                   10 * time.Second,
		"host=a sslmode=prefer":                    10 * time.Second, // with TLS, then without
		"host=a,b":                                 3 * time.Second,
		"host=a,b connect_timeout=7":               7 * time.Second,
		"postgres://u@a:1/d":                       10 * time.Second,
		"postgres://u@a:1,a:2/d":                   3 * time.Second,
		"postgres://u@a:1,a:2/d?connect_timeout=1": time.Second,
		"host=a connect_timeout=20":                20 * time.Second,
	} {
		config, err := parse(dsn)
		if err != nil || config.ConnectTimeout != want {
			t.Errorf("parse(%s) has the timeout %v, %v; want %v", dsn, config.ConnectTimeout, err, want)
		}
	}
}

// No error about a DSN shows any part of a password, however it was written.
func TestPasswordsNotShown(t *testing.T) {
	const first, second = "hun", "ter2"
	for _, dsn := range []string{
		"postgres://u:{}@127.0.0.1:1/db",
		"postgres://u:{}@127.0.0.1:port/db",
		"postgres://u:{}@127.0.0.1:1/db?sslmode=wrong",
		"postgres://127.0.0.1:1/db?user=u&password={}&sslmode=wrong",
		"postgresql://:{}@127.0.0.1:1/db?connect_timeout=x",
		"host=127.0.0.1 port=1 user=u password={} sslmode=disable",
		"host=127.0.0.1 port=1 user=u password={} sslmode=wrong",
		"host=127.0.0.1 port=1 user=u password='{}' sslmode=wrong",
		"host=127.0.0.1 port=1 user=u password='{}",
		"host=127.0.0.1 port=1 user=u PASSWORD = {} nonsense",
		"host=127.0.0.1 port=1 user=u sslpassword={} sslmode=verify-full sslkey=/x sslcert=/y",
		"u:{}@127.0.0.1/db",
		"mysql://u:{}@127.0.0.1/db",
		"{}",
	} {
		for _, between := range []string{"", " ", "/", "?", "#", "%", "@", ":", `\ `, `\'`, "'", "&", "`: ", "=", "\n"} {
			dsn := strings.ReplaceAll(dsn, "{}", first+between+second)
			b, err := Open(dsn, nil)
			if err == nil {
				b.Close()
				t.Errorf("Open(%q) succeeded", dsn)
				continue
			}
			for ; err != nil; err = unwrapped(err) {
				if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, first) || strings.Contains(text, second) {
					t.Errorf("Open(%q) = %s", dsn, text)
					break
				}
			}
		}
	}
}

func unwrapped(err error) error {
	switch e := err.(type) { //nolint:errorlint // each layer is inspected in turn
	case interface{ Unwrap() error }:
		return e.Unwrap()
	case interface{ Unwrap() []error }:
		return e.Unwrap()[len(e.Unwrap())-1]
	}
	return nil
}
