//go:build unix

package pgcluster

import (
	"database/sql"
	"fmt"
	"testing"
	"time"
)

// A Pair is a primary server and a standby that can replace it.
type Pair struct {
	tb               testing.TB
	driver           string // the name registered with database/sql
	primary, standby *Cluster
	dead             *Cluster // the former primary, until it is rebuilt
}

// NewPair starts a pair and stops it at the end of the test. Before Protect, the standby
// may lack acknowledged commits.
func NewPair(tb testing.TB, driver string) *Pair {
	tb.Helper()
	Own(tb) // skips the test if there is no server to start
	primary, err := startCluster()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(primary.Stop)
	return &Pair{tb: tb, driver: driver, primary: primary, standby: primary.Replica(tb, driver)}
}

// DSN returns a DSN that leads to the current primary.
func (p *Pair) DSN() string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable&target_session_attrs=read-write",
		Superuser, Password, p.primary.Port, p.standby.Port)
}

// Protect makes the primary acknowledge a commit only when the standby has it. The test
// must be pushing meanwhile.
//
// Sessions notice the setting at different times. So it first names a standby that does
// not exist. Once a commit waits for that standby, all later commits wait, and all earlier
// commits are before the mark.
func (p *Pair) Protect() {
	p.tb.Helper()
	db := p.open(p.primary)
	defer db.Close()
	p.configure(db, "nobody")
	p.until(db, "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep')")
	var mark string
	if err := db.QueryRowContext(p.tb.Context(), "SELECT pg_current_wal_lsn()::text").Scan(&mark); err != nil {
		p.tb.Fatal(err)
	}
	p.configure(db, "*")
	p.until(db, "SELECT EXISTS (SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming' AND flush_lsn >= '"+mark+"'::pg_lsn)")
}

func (p *Pair) configure(db *sql.DB, standbys string) {
	p.tb.Helper()
	for _, query := range []string{"ALTER SYSTEM SET synchronous_standby_names = '" + standbys + "'", "SELECT pg_reload_conf()"} {
		if _, err := db.ExecContext(p.tb.Context(), query); err != nil {
			p.tb.Fatalf("%s: %v", query, err)
		}
	}
}

// Fail stops the primary as Crash does, and promotes the standby, which then acknowledges
// commits alone.
func (p *Pair) Fail(all bool) {
	p.tb.Helper()
	p.primary.Crash(p.tb, all)
	p.primary, p.standby, p.dead = p.standby, nil, p.primary
	db := p.open(p.primary)
	defer db.Close()
	// The replay of the log may cancel the query, but not the promotion.
	for deadline := time.Now().Add(time.Minute); ; {
		promoted := false
		err := db.QueryRowContext(p.tb.Context(), "SELECT CASE WHEN pg_is_in_recovery() THEN pg_promote(true, 60) ELSE true END").Scan(&promoted)
		if err == nil && promoted {
			break
		}
		if time.Now().After(deadline) {
			p.tb.Fatalf("the standby is not promoted: %v", err)
		}
		<-time.After(10 * time.Millisecond) // there is no notification
	}
}

// Rebuild makes the former primary the standby of the new one.
func (p *Pair) Rebuild() {
	p.tb.Helper()
	p.dead.Stop()
	p.standby, p.dead = p.primary.replicaAt(p.tb, p.driver, p.dead.Port), nil
}

// open connects as the superuser.
func (p *Pair) open(c *Cluster) *sql.DB {
	p.tb.Helper()
	db, err := sql.Open(p.driver, c.DSN())
	if err != nil {
		p.tb.Fatal(err)
	}
	return db
}

// until waits until a query returns true.
func (p *Pair) until(db *sql.DB, query string) {
	p.tb.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		ok := false
		if err := db.QueryRowContext(p.tb.Context(), query).Scan(&ok); err != nil {
			p.tb.Fatalf("%s: %v", query, err)
		}
		if ok {
			return
		}
		if time.Now().After(deadline) {
			p.tb.Fatalf("not true after a minute: %s", query)
		}
		<-time.After(10 * time.Millisecond) // there is no notification
	}
}
