package child

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// dump returns all rows of all tables. As seeds are random, it shows only which
// ones there are.
func (b *bench) dump() (string, error) {
	ctx := context.Background()
	var tables []string
	err := rowsOf(ctx, b.raw, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name", func(_ []string, v []any) {
		tables = append(tables, fmt.Sprint(v[0]))
	})
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, table := range tables {
		order := "1, 2"
		if table == "plainjobs_claim" {
			order = "first, last" // not by the seed
		}
		err := rowsOf(ctx, b.raw, "SELECT * FROM "+table+" ORDER BY "+order, func(columns []string, v []any) {
			text.WriteString(table)
			for i, c := range columns {
				value := fmt.Sprint(v[i])
				switch {
				case strings.HasSuffix(c, "seed") && value != "0":
					value = "drawn"
				case c == "lock_file" && value != "": // of this process
					value = "shown"
				case c == "value" && table == "plainjobs_meta": // of the store
					value = "…"
				}
				fmt.Fprintf(&text, " %s=%s", c, value)
			}
			text.WriteByte('\n')
		})
		if err != nil {
			return "", err
		}
	}
	return text.String(), nil
}

func rowsOf(ctx context.Context, db *sql.DB, query string, row func(columns []string, values []any)) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	values := make([]any, len(columns))
	into := make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		row(columns, values)
	}
	return rows.Err()
}

// firstDifference returns the first line in which two dumps differ.
func firstDifference(is, want string) string {
	a, b := strings.Split(is, "\n"), strings.Split(want, "\n")
	for i := range max(len(a), len(b)) {
		x, y := "nothing", "nothing"
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return fmt.Sprintf("there is %q, want %q", x, y)
		}
	}
	return "the database is as it should be"
}
