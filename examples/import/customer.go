package main

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// openDB opens a database with the table of customers.
func openDB(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)")
	if err == nil {
		_, err = db.Exec(`CREATE TABLE IF NOT EXISTS customer (email TEXT PRIMARY KEY, name TEXT NOT NULL)`)
	}
	return db, err
}

// A customer is a row of a file.
type customer struct {
	File        string
	Line        int64
	Name, Email string
}

// parse returns the customer of a line, which has a name and an address.
func parse(file string, line int64, text string) customer {
	name, email, _ := strings.Cut(text, ",")
	return customer{file, line, name, email}
}

// save stores a customer. It may be called twice.
func save(ctx context.Context, db *sql.DB, c customer) error {
	_, err := db.ExecContext(ctx, `INSERT INTO customer (email, name) VALUES (?, ?) ON CONFLICT (email) DO UPDATE SET name = excluded.name`, c.Email, c.Name)
	return err
}

// read returns up to most customers of a file from an offset, and the offset of the next
// one, which is zero at the end of the file.
func read(file string, offset, line int64, most int) (customers []customer, next int64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, 0, err
	}
	lines := bufio.NewReader(f)
	for len(customers) < most {
		text, err := lines.ReadString('\n')
		if text != "" {
			customers = append(customers, parse(file, line+int64(len(customers)), strings.TrimSpace(text)))
			offset += int64(len(text))
		}
		if err == io.EOF {
			return customers, 0, nil
		}
		if err != nil {
			return nil, 0, err
		}
	}
	return customers, offset, nil
}

// generate writes a file of customers. Each 1,000th has no address.
func generate(file string, rows int) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for n := 1; n <= rows; n++ {
		email := fmt.Sprintf("c%d@example.com", n)
		if n%1000 == 0 {
			email = ""
		}
		fmt.Fprintf(w, "Customer %d,%s\n", n, email)
	}
	if err := w.Flush(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
