package libraries

import (
	"context"
	"database/sql"
	"errors"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/jmoiron/sqlx"
	"github.com/uptrace/bun"
	"gorm.io/gorm"

	"github.com/plainjobs/plainjobs"
)

// A Contact is a row of the application, which each library stores together with a job.
type Contact struct {
	bun.BaseModel `bun:"table:contacts" gorm:"-"`

	ID    int64 `bun:",pk,autoincrement"`
	Email string
}

// Welcome is the job.
var Welcome = plainjobs.Declare[Contact]("welcome")

// WithGORM stores a contact and its job in a transaction of GORM.
func WithGORM(ctx context.Context, db *gorm.DB, queue *plainjobs.Queue, c Contact) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Create(&c).Error; err != nil {
			return err
		}
		own, err := gormTx(tx)
		if err != nil {
			return err
		}
		_, err = queue.WithTx(own).Perform(ctx, Welcome.With(c))
		return err
	})
}

// gormTx returns the transaction of database/sql below one of GORM, which hides it once
// more if Config.PrepareStmt is set.
func gormTx(tx *gorm.DB) (*sql.Tx, error) {
	pool := tx.Statement.ConnPool
	if prepared, ok := pool.(*gorm.PreparedStmtTX); ok {
		pool = prepared.Tx
	}
	if own, ok := pool.(*sql.Tx); ok {
		return own, nil
	}
	return nil, errors.New("not in a transaction")
}

// WithBun stores a contact and its job in a transaction of bun.
func WithBun(ctx context.Context, db *bun.DB, queue *plainjobs.Queue, c Contact) error {
	return db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(&c).Exec(ctx); err != nil {
			return err
		}
		_, err := queue.WithTx(tx.Tx).Perform(ctx, Welcome.With(c))
		return err
	})
}

// WithSQLX stores a contact and its job in a transaction of sqlx.
func WithSQLX(ctx context.Context, db *sqlx.DB, queue *plainjobs.Queue, c Contact) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.NamedExecContext(ctx, "INSERT INTO contacts (email) VALUES (:email)", c); err != nil {
		return err
	}
	if _, err := queue.WithTx(tx.Tx).Perform(ctx, Welcome.With(c)); err != nil {
		return err
	}
	return tx.Commit()
}

// Queries stands for the code that sqlc generates, whose WithTx takes a *sql.Tx.
type Queries interface {
	WithTx(tx *sql.Tx) Queries
	CreateContact(ctx context.Context, email string) error
}

// WithSQLC stores a contact and its job in a transaction that queries of sqlc are in.
func WithSQLC(ctx context.Context, db *sql.DB, queries Queries, queue *plainjobs.Queue, c Contact) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := queries.WithTx(tx).CreateContact(ctx, c.Email); err != nil {
		return err
	}
	if _, err := queue.WithTx(tx).Perform(ctx, Welcome.With(c)); err != nil {
		return err
	}
	return tx.Commit()
}

// WithEnt stores a contact and its job in a transaction of the application, in which ent
// takes part. A transaction that ent begins hides the *sql.Tx.
func WithEnt(ctx context.Context, db *sql.DB, create func(context.Context, dialect.Driver, Contact) error, queue *plainjobs.Queue, c Contact) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	// In an application: client := ent.NewClient(ent.Driver(entDriver(dialect.SQLite, tx))).
	if err := create(ctx, entDriver(dialect.SQLite, tx), c); err != nil {
		return err
	}
	if _, err := queue.WithTx(tx).Perform(ctx, Welcome.With(c)); err != nil {
		return err
	}
	return tx.Commit()
}

// entDriver returns a driver of ent whose statements run in tx, also those for which ent
// begins a transaction of its own.
func entDriver(name string, tx *sql.Tx) dialect.Driver {
	return joined{entsql.NewDriver(name, entsql.Conn{ExecQuerier: tx})}
}

// A joined is a driver of ent that begins no transactions.
type joined struct{ dialect.Driver }

func (d joined) Tx(context.Context) (dialect.Tx, error) { return dialect.NopTx(d), nil }
