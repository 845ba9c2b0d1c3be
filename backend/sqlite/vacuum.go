package sqlite

import (
	"context"
	"database/sql"
)

const (
	// A call of Reap returns at most vacuumStep free pages to the file system, as long as vacuumFree
	// stay free: new jobs take these without growing the file.
	vacuumStep = 256
	vacuumFree = 1024
	// incremental is the value of PRAGMA auto_vacuum.
	incremental = 2

	// SQLite removes a page for each row that is read.
	incrementalVacuum = `PRAGMA incremental_vacuum(256)`
	selectVacuum      = `PRAGMA auto_vacuum`
	selectFree        = `PRAGMA freelist_count`
)

// vacuum returns some free pages to the file system, if the file has auto_vacuum=INCREMENTAL.
func (b *Backend) vacuum(ctx context.Context) error {
	if b.path == "" || b.vacuumless.Load() {
		return nil
	}
	mode, free := 0, 0
	err := b.read(ctx, func(q queryer) error {
		err := scan(ctx, q, selectVacuum, nil, func(r *sql.Rows) error { return r.Scan(&mode) })
		if err != nil || mode != incremental {
			return err
		}
		return scan(ctx, q, selectFree, nil, func(r *sql.Rows) error { return r.Scan(&free) })
	})
	if err != nil {
		return err
	}
	if mode != incremental {
		b.vacuumless.Store(true) // only a VACUUM changes it
		return nil
	}
	if free < vacuumFree+vacuumStep {
		return nil
	}
	return b.writer.do(ctx, &request{op: "vacuum", run: func(t *tx) error {
		return t.each(incrementalVacuum, nil, func(*sql.Rows) (bool, error) { return true, nil })
	}})
}
