package pgx

import (
	"testing"
	"time"
)

// A host that takes a connection and never answers, as one behind a broken
// balancer, holds up no call for ever.
func TestConnectTimeout(t *testing.T) {
	for dsn, want := range map[string]time.Duration{
		"host=a":                                   10 * time.Second,
		"host=a sslmode=prefer":                    10 * time.Second, // once with TLS and once without
		"host=a,b":                                 3 * time.Second,
		"host=a,b connect_timeout=7":               7 * time.Second,
		"postgres://u@a:1/d":                       10 * time.Second,
		"postgres://u@a:1,a:2/d":                   3 * time.Second,
		"postgres://u@a:1,a:2/d?connect_timeout=1": time.Second,
		"host=a connect_timeout=20":                20 * time.Second,
	} {
		config, err := parse(dsn)
		if err != nil || config.ConnectTimeout != want {
			t.Errorf("parse(%s) has a timeout of %v, %v; want %v", dsn, config.ConnectTimeout, err, want)
		}
	}
}
