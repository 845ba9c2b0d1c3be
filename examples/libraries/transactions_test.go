package libraries

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql/sqlgraph"
	"entgo.io/ent/schema/field"
	"github.com/jmoiron/sqlx"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	gormsqlite "gorm.io/driver/sqlite"
	"gorm.io/gorm"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	_ "github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

// queries is what sqlc would generate for one query.
type queries struct {
	db interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	}
}

func (q queries) WithTx(tx *sql.Tx) Queries { return queries{tx} }

func (q queries) CreateContact(ctx context.Context, email string) error {
	_, err := q.db.ExecContext(ctx, "INSERT INTO contacts (email) VALUES (?)", email)
	return err
}

// createContact does what ent generates for client.Contact.Create, in two nodes, for which
// ent begins a transaction.
func createContact(ctx context.Context, driver dialect.Driver, c Contact) error {
	spec := sqlgraph.NewCreateSpec("contacts", sqlgraph.NewFieldSpec("id", field.TypeInt64))
	spec.SetField("email", field.TypeString, c.Email)
	return sqlgraph.BatchCreate(ctx, driver, &sqlgraph.BatchCreateSpec{Nodes: []*sqlgraph.CreateSpec{spec}})
}

// With each library the row and the job exist if the transaction commits, and neither does
// otherwise.
func TestTransactions(t *testing.T) {
	for name, store := range map[string]func(ctx context.Context, db *sql.DB, queue *plainjobs.Queue, c Contact) error{
		"GORM": func(ctx context.Context, db *sql.DB, queue *plainjobs.Queue, c Contact) error {
			return WithGORM(ctx, openGORM(t, db, false), queue, c)
		},
		"GORM with prepared statements": func(ctx context.Context, db *sql.DB, queue *plainjobs.Queue, c Contact) error {
			return WithGORM(ctx, openGORM(t, db, true), queue, c)
		},
		"bun": func(ctx context.Context, db *sql.DB, queue *plainjobs.Queue, c Contact) error {
			return WithBun(ctx, bun.NewDB(db, sqlitedialect.New()), queue, c)
		},
		"sqlx": func(ctx context.Context, db *sql.DB, queue *plainjobs.Queue, c Contact) error {
			return WithSQLX(ctx, sqlx.NewDb(db, "sqlite"), queue, c)
		},
		"sqlc": func(ctx context.Context, db *sql.DB, queue *plainjobs.Queue, c Contact) error {
			return WithSQLC(ctx, db, queries{db}, queue, c)
		},
		"ent": func(ctx context.Context, db *sql.DB, queue *plainjobs.Queue, c Contact) error {
			return WithEnt(ctx, db, createContact, queue, c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "app.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)")
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec("CREATE TABLE contacts (id INTEGER PRIMARY KEY, email TEXT NOT NULL)"); err != nil {
				t.Fatal(err)
			}
			backend, err := sqlite.New(db, nil)
			if err != nil {
				t.Fatal(err)
			}
			queue := plainjobs.New(backend, nil)
			defer queue.Close()
			check := func(want int) {
				t.Helper()
				rows := 0
				if err := db.QueryRow("SELECT count(*) FROM contacts").Scan(&rows); err != nil {
					t.Fatal(err)
				}
				jobs, _, err := queue.Count(t.Context(), plainjobs.Filter{Names: []string{Welcome.Name()}}, true)
				if err != nil || rows != want || int(jobs) != want {
					t.Errorf("there are %d rows and %d jobs (%v), want %d", rows, jobs, err, want)
				}
			}
			if err := store(t.Context(), db, queue, Contact{Email: "ada@example.com"}); err != nil {
				t.Fatal(err)
			}
			check(1)
			full := plainjobs.New(backend, &plainjobs.Options{MaxPayload: 5}) // Perform fails, so the row must not stay
			if err := store(t.Context(), db, full, Contact{Email: "grace@example.com"}); !errors.Is(err, plainjobs.ErrPayloadTooLarge) {
				t.Errorf("the transaction returned %v", err)
			}
			check(1)
		})
	}
}

func openGORM(t *testing.T, db *sql.DB, prepare bool) *gorm.DB {
	t.Helper()
	g, err := gorm.Open(gormsqlite.Dialector{Conn: db}, &gorm.Config{PrepareStmt: prepare})
	if err != nil {
		t.Fatal(err)
	}
	return g
}
