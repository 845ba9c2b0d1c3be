// Package viewtest tests the view for reports of a SQL store: its columns, that it shows
// what the store's methods return, and the queries of docs/reports.md.
package viewtest

import (
	"database/sql"
	"embed"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A View is the view of a store.
type View struct {
	*sql.DB
	Dialect string // "sqlite", "postgres" or "mysql"
	Name    string // with the schema
}

//go:embed sqlite postgres mysql
var queries embed.FS

// columns are part of the schema's promise: none is renamed or removed, and new ones come
// last.
const columns = "id name state priority failures max_attempts crashes created_at run_at started_at finished_at expires_at" +
	" worker unique_key serial_key metadata payload result error payload_dropped"

// A store is a store with all methods that the test needs.
type store interface {
	backend.Backend
	backend.Reader
	backend.Operator
	backend.SettingsStore
}

// Run tests the view of an empty store.
func Run(t *testing.T, b store, v View) {
	fill(t, b)
	v.testColumns(t)
	v.testRows(t, b)
	v.testQueries(t)
}

func (v View) testColumns(t *testing.T) {
	t.Helper()
	names, _ := v.rows(t, "SELECT * FROM "+v.Name)
	if got := strings.Join(names, " "); got != columns {
		t.Errorf("the view has the columns\n%s\nwant\n%s", got, columns)
	}
	if v.Dialect != "postgres" {
		return
	}
	const instant = "timestamp with time zone"
	for column, want := range map[string]string{
		"id": "bigint", "name": "text", "state": "text", "priority": "smallint", "failures": "integer", "max_attempts": "bigint", "crashes": "smallint",
		"created_at": instant, "run_at": instant, "started_at": instant, "finished_at": instant, "expires_at": instant,
		"worker": "bigint", "unique_key": "text", "serial_key": "text", "metadata": "jsonb", "payload": "jsonb", "result": "jsonb", "error": "text", "payload_dropped": "boolean",
	} {
		if got := v.text(t, "SELECT pg_typeof("+column+") FROM "+v.Name+" LIMIT 1"); got[0] != want {
			t.Errorf("the column %s is %s, want %s", column, got[0], want)
		}
	}
}

// text returns the rows of a query.
func (v View) text(t *testing.T, query string) []string {
	t.Helper()
	_, lines := v.rows(t, query)
	return lines
}

// rows returns the columns of a query, and its rows with | between columns and times in UTC.
func (v View) rows(t *testing.T, query string) (names, lines []string) {
	t.Helper()
	rows, err := v.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	names, err = rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values, places := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			places[i] = &values[i]
		}
		if err := rows.Scan(places...); err != nil {
			t.Fatal(err)
		}
		words := make([]string, len(values))
		for i, value := range values {
			words[i] = text(value)
		}
		lines = append(lines, strings.Join(words, "|"))
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return names, lines
}

func text(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case []byte:
		return string(v)
	case time.Time:
		return v.UTC().Format(layout)
	}
	return fmt.Sprint(value)
}

// layout is how the view of SQLite has times.
const layout = "2006-01-02 15:04:05.000000"

// testRows compares the view with what the store's methods return.
func (v View) testRows(t *testing.T, b store) {
	t.Helper()
	page, err := b.List(t.Context(), backend.ListRequest{Payloads: true})
	if err != nil {
		t.Fatal(err)
	}
	states := map[backend.State]bool{}
	var want []string
	for i := range page.Jobs {
		job, err := b.Get(t.Context(), page.Jobs[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		states[job.State] = true
		want = append(want, expected(&job))
	}
	if len(states) != len(backend.States()) {
		t.Errorf("the jobs are in the states %v", states)
	}
	list := strings.ReplaceAll(columns, " ", ", ")
	list = strings.ReplaceAll(list, "metadata, payload, result", spaceless(v.Dialect))
	list = strings.ReplaceAll(list, "payload_dropped", "CASE WHEN payload_dropped THEN 'true' ELSE 'false' END")
	got := v.text(t, "SELECT "+list+" FROM "+v.Name+" ORDER BY id DESC")
	if !slices.Equal(got, want) {
		t.Errorf("the view has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// spaceless selects JSON without spaces: jsonb has its own.
func spaceless(dialect string) string {
	if dialect != "postgres" {
		return "metadata, payload, result"
	}
	return "replace(metadata::text, ' ', ''), replace(payload::text, ' ', ''), replace(result::text, ' ', '')"
}

func expected(job *backend.Info) string {
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return text(t)
	}
	worker, last := "", ""
	if job.Worker != 0 {
		worker = fmt.Sprint(job.Worker)
	}
	if n := len(job.Errors); n > 0 {
		last = job.Errors[n-1].Error
	}
	object := func(data []byte) string {
		if strings.HasPrefix(string(data), "no") {
			return ""
		}
		return string(data)
	}
	return strings.Join([]string{
		fmt.Sprint(job.ID), job.Name, job.State.String(), fmt.Sprint(job.Priority), fmt.Sprint(job.Failures), fmt.Sprint(job.MaxAttempts), fmt.Sprint(job.Crashes),
		at(job.CreatedAt), at(job.RunAt), at(job.StartedAt), at(job.FinishedAt), at(job.ExpiresAt),
		worker, job.UniqueKey, job.SerialKey, object(job.Metadata), object(job.Payload), object(job.Result), last, fmt.Sprint(job.Dropped),
	}, "|")
}

// testQueries runs the queries of docs/reports.md. Their last columns are times.
func (v View) testQueries(t *testing.T) {
	t.Helper()
	for name, want := range map[string][]string{
		"errors":  {"invoice|refused|2", "load|timeout|1"},
		"tenants": {"acme|3|70", "b|1|5"},
		"times":   {"sum|1"},
	} {
		query, err := queries.ReadFile(v.Dialect + "/" + name + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		real := strings.NewReplacer("plainjobs.view", v.Name, "plainjobs_view", v.Name).Replace(string(query))
		got := v.text(t, real)
		for i, line := range got {
			words := strings.Split(line, "|")
			if slices.Contains(words, "") {
				t.Errorf("%s: a value is missing: %s", name, line)
			}
			if name == "times" {
				words = slices.Delete(words, 1, 2) // the hour
			}
			got[i] = strings.Join(words[:strings.Count(want[0], "|")+1], "|")
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s returned %q, want %q", name, got, want)
		}
	}
}

// fill stores jobs in every state.
func fill(t *testing.T, b store) {
	t.Helper()
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	job := func(name, payload, metadata string) backend.NewJob {
		return backend.NewJob{Name: name, Payload: []byte(payload), Metadata: []byte(metadata), MaxAttempts: 3, Priority: -2}
	}
	acme, other := `{"tenant":"acme"}`, `{"tenant":"b"}`
	jobs := []backend.NewJob{
		job("sum", `[1,2]`, ""), job("load", "no JSON", "no\x80"), job("invoice", `{"amount":1}`, acme), job("invoice", `{"amount":2}`, other),
		job("invoice", `{"amount":20}`, acme), job("invoice", `{"amount":30}`, acme), job("invoice", `{"amount":20}`, acme), job("invoice", `{"amount":5}`, other),
		job("import", `"ü"`, ""), job("import", `null`, ""), job("late", `{}`, ""),
	}
	jobs[6].Delay, jobs[6].Expires = time.Hour, 2*time.Hour
	jobs[7].Unique = backend.Unique{Key: "u"}
	jobs[8].Serial, jobs[9].Serial = "s", "s"
	_, err := b.Push(ctx, jobs)
	check(err)
	self := backend.Worker{ID: 77, Host: "mill", PID: 4711, Lease: time.Hour, Jobs: []string{"import", "invoice", "sum", "late", "load"}}
	claim := func(limit int, name string) []backend.Job {
		t.Helper()
		claimed, err := b.Claim(ctx, backend.ClaimRequest{Worker: self, Register: true, Names: []string{name}, Limit: limit})
		check(err)
		if len(claimed) != limit {
			t.Fatalf("claimed %d jobs named %s, want %d", len(claimed), name, limit)
		}
		return claimed
	}
	fail := func(j backend.Job, ending backend.Ending, text string) {
		t.Helper()
		_, err := b.Fail(ctx, []backend.Failure{{Lease: j.Lease, Ending: ending, Error: text, Took: time.Millisecond}})
		check(err)
	}
	_, err = b.Complete(ctx, []backend.Completion{{Lease: claim(1, "sum")[0].Lease, Result: []byte("3"), Took: time.Millisecond}})
	check(err)
	fail(claim(1, "load")[0], backend.EndRetry, "disk full")
	fail(claim(1, "load")[0], backend.EndFailed, "timeout")
	for _, j := range claim(2, "invoice") {
		fail(j, backend.EndFailed, "refused")
	}
	claim(1, "invoice") // runs
	_, err = b.Set(ctx, 0, []backend.Settings{{Name: "late", History: backend.History{DropFailed: true}}})
	check(err)
	_, err = b.Operate(ctx, backend.OperateRequest{Op: backend.OpCancel, Filter: backend.Filter{Names: []string{"late"}}})
	check(err)
}
