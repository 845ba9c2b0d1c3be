package mysql

import (
	"database/sql"
	"maps"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/mycluster"
)

// plans are the statements that lock rows by key, with parameters.
func plans() map[string][]any {
	var ids, pairs, claims, turns, spans, starts, keys, rows values
	for n := range int64(3) {
		ids.add(n + 1)
		pairs.add(n+1, n+1, n+1)
		claims.add(n+1, n+1)
		turns.add(n+1, n+1, 1, 0)
		spans.add("a", false, 0, n+1, n+1)
		starts.add("a", false, 0, n+1, n+1, n+1)
		keys.add("a", "k", n+1, 0)
		rows.add(n+1, 3, 0, 7, 0, 0, false, 0, 1, 1, 0, 0, 0)
	}
	all := map[string][]any{
		lockRows: {ids}, lockFree: {ids}, lockJobs: {ids}, deleteJobs: {ids}, updateUnset: {ids}, updateDue: {ids}, lockPresent: {ids},
		deleteErrors: {ids}, deleteResults: {ids}, deleteProgress: {ids}, deleteSteps: {ids}, deleteWaits: {ids}, deleteFair: {ids}, updateTurns: {turns}, updateRunAts: {claims}, deleteChanges: {ids},
		updateRows: {rows}, updateStarted: {pairs}, trimErrors: {claims}, deleteStepsFrom: {claims},
		deleteClaims: {claims}, deleteSettled: {claims}, deleteSpans: {spans}, lockSpans: {spans}, lockBadSpans: {spans}, shortenSpans: {starts},
		lockKeys: {keys}, deleteKeys: {keys}, releaseKeys: {keys}, lockJobKeys: {keys},
		selectHeads: {keys}, lockHeads: {keys}, updateHeads: {keys}, deleteHeads: {keys}, lockSettings: {keys},
		updateDone: {1, 1, 3, 7}, updateDoneEach: {claims, 1}, lockFirst: {"a", 2}, lockRange: {"a", false, 0, 1, 1, 3}, selectNext: {"a", "k"},
		selectDue: {1, 10}, selectExpiring: {1, 10}, selectClaimed: {1, 1, 1}, lockLease: {1, 1},
	}
	var passing, folded values
	passing.add(1, true)
	folded.add(1, 1, 1, 1, 1, 1, false, 0, false)
	maps.Copy(all, map[string][]any{
		lockGates: {ids}, lockShared: {ids}, lockFolds: {ids}, lockOver: {ids}, selectMembership: {ids}, lockMembership: {ids}, selectKeptByFlows: {ids},
		deleteMembers: {ids}, deleteWaiters: {ids}, updateBehind: {ids}, updateMember: {ids}, selectStanding: {ids, 1}, deleteTaken: {ids},
		selectPassing: {passing}, updateGates: {folded}, lockOverdue: {1, 1, 1, 1}, lockInner: {idList{1}, 1}, lockSwept: {1}, lockOpenGate: {1},
		selectOldest: {0, "a", 5, 1, 1, 10}, selectStale: {0, 1000, 1, 1}, selectAwaiting: {1, 10}, selectWaiters: {1, true, 10}, selectMembers: {1, 1, 10},
	})
	all[deletePlaces[scheduled]], all[deletePlaces[expiring]], all[deletePlaces[ended]] = []any{claims}, []any{claims}, []any{claims}
	var named, dated values
	named.add("a", "k", 1)
	dated.add("a", 5, 1, 1)
	all[deletePlaces[blocked]], all[deletePlaces[finished]] = []any{named}, []any{dated}
	return all
}

// Each statement that locks rows by key reads an index, in empty tables and in full ones. The
// server scans a table that it takes for small, unless it is told, and locks what it scans: then
// transactions wait for each other and deadlock.
func TestPlans(t *testing.T) {
	db, err := sql.Open("mysql", mycluster.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b, err := New(db, &Options{Prefix: "plans_"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, filled := range []bool{false, true} {
		if filled {
			jobs := make([]backend.NewJob, 1000)
			for i := range jobs {
				jobs[i] = backend.NewJob{Name: "a", MaxAttempts: 1, Priority: int16(i), Serial: string(rune('a' + i%20)), Delay: 1e9 * 3600} //nolint:gosec // small
			}
			if _, err := b.Push(t.Context(), jobs); err != nil {
				t.Fatal(err)
			}
		}
		for query, args := range plans() {
			text, _ := fill(b.sql(query), args)
			for table, how := range plan(t, db, text) {
				if table != "v" && (how == "ALL" || how == "index") {
					t.Errorf("filled %v: the server reads all of %s for %s", filled, table, strings.Join(strings.Fields(query), " "))
				}
			}
		}
	}
}

// plan returns how the server reads each table of a statement.
func plan(t *testing.T, db *sql.DB, text string) map[string]string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "EXPLAIN "+text)
	if err != nil {
		t.Fatalf("EXPLAIN %s: %v", text, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]string{}
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		table, how := "", ""
		for i, c := range columns {
			switch c {
			case "table":
				table = values[i].String
			case "type":
				how = values[i].String
			}
		}
		tables[table] = how
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return tables
}
