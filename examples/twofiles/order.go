package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs"
)

// ship runs once for each order, even if the order is placed again.
var ship = plainjobs.Declare[int64]("ship", plainjobs.MaxAttempts(5),
	plainjobs.UniqueBy(func(order int64) string { return fmt.Sprint("order ", order) }))

// orders is the application's database.
type orders struct{ *sql.DB }

func openOrders(path string) (orders, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)")
	if err == nil {
		_, err = db.Exec(`CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, shipped_at INTEGER)`)
	}
	return orders{db}, err
}

// place stores an order and the job that ships it.
func (o orders) place(ctx context.Context, q *plainjobs.Queue, id int64) error {
	if _, err := q.Perform(ctx, ship.With(id)); err != nil {
		return err
	}
	_, err := o.ExecContext(ctx, `INSERT INTO orders (id) VALUES (?) ON CONFLICT DO NOTHING`, id)
	return err
}

// patience is how long a job waits for its order. It is longer than the time between the
// two commits.
const patience = time.Minute

// ship is the handler.
func (o orders) ship(ctx context.Context, id int64) error {
	var shipped sql.NullInt64
	err := o.QueryRowContext(ctx, `SELECT shipped_at FROM orders WHERE id = ?`, id).Scan(&shipped)
	if errors.Is(err, sql.ErrNoRows) {
		if i, ok := plainjobs.FromContext(ctx); ok && time.Since(i.CreatedAt) < patience {
			return plainjobs.Snooze(time.Second)
		}
		return plainjobs.Cancel(errors.New("the order was never placed"))
	}
	if err != nil || shipped.Valid { // the job may run twice
		return err
	}
	_, err = o.ExecContext(ctx, `UPDATE orders SET shipped_at = ? WHERE id = ?`, time.Now().UnixMicro(), id)
	return err
}

func (o orders) list(ctx context.Context) (lines []string, err error) {
	rows, err := o.QueryContext(ctx, `SELECT id, shipped_at IS NOT NULL FROM orders ORDER BY id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var shipped bool
		if err := rows.Scan(&id, &shipped); err != nil {
			return nil, err
		}
		lines = append(lines, fmt.Sprintf("order %d shipped=%v", id, shipped))
	}
	return lines, rows.Err()
}
