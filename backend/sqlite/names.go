package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
)

const (
	selectName = `SELECT id FROM plainjobs_job_name WHERE name = ?`
	insertName = `INSERT INTO plainjobs_job_name (name) VALUES (?)`
)

// nameID returns the ID of a name, which it stores if it is new.
func (t *tx) nameID(name string) (int64, error) {
	if t.w != nil {
		if id, ok := t.w.names[name]; ok {
			return id, nil
		}
	}
	if id, ok := t.fresh[name]; ok {
		return id, nil
	}
	var id int64
	err := t.each(selectName, []any{name}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&id) })
	if err != nil {
		return 0, err
	}
	if id == 0 {
		result, err := t.exec(insertName, name)
		if err != nil {
			return 0, err
		}
		if id, err = result.LastInsertId(); err != nil {
			return 0, err
		}
	}
	if t.fresh == nil {
		t.fresh = map[string]int64{}
	}
	t.fresh[name] = id
	return id, nil
}

const selectNameByID = `SELECT name FROM plainjobs_job_name WHERE id = ?`

// name returns the name with an ID.
func (t *tx) name(id int64) (string, error) {
	if name, ok := t.w.nameOf[id]; ok {
		return name, nil
	}
	var name string
	err := t.each(selectNameByID, []any{id}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&name) })
	if err == nil && name == "" {
		err = fmt.Errorf("%w: the name of jobs with the name ID %d is missing", backend.ErrCorrupt, id)
	}
	return name, err
}

const (
	selectNames = `
		SELECT n.id, n.name, coalesce((SELECT jobs FROM plainjobs_job_count c WHERE c.name = n.id AND c.state = 4), 0)
		FROM plainjobs_job_name n
		WHERE EXISTS (SELECT 1 FROM plainjobs_job_count c WHERE c.name = n.id AND c.jobs > 0)
			OR EXISTS (SELECT 1 FROM plainjobs_job_setting s WHERE s.name = n.id)
		ORDER BY n.name`
)

// Names implements [backend.SettingsStore].
func (b *Backend) Names(ctx context.Context) ([]backend.NameInfo, error) {
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "names", err)
	}
	defer leave()
	var infos []backend.NameInfo
	err = b.read(ctx, func(q queryer) error {
		infos = nil
		all, _, err := b.settings(ctx, q)
		if err != nil {
			return err
		}
		if all[wholeQueue].paused {
			infos = append(infos, backend.NameInfo{Paused: true})
		}
		var ids []int64
		err = scan(ctx, q, b.sql(selectNames), nil, func(r *sql.Rows) error {
			var id int64
			var n backend.NameInfo
			err := r.Scan(&id, &n.Name, &n.Running)
			s := all[id]
			s.Name = n.Name
			n.Settings, n.Paused, n.Differ = s.Settings, s.paused, s.differ
			n.Defined = s.defined()
			n.Defined.Name = n.Name
			if s.override != nil {
				n.Override = s.override.Override
			}
			infos, ids = append(infos, n), append(ids, id)
			return err
		})
		if err != nil {
			return err
		}
		for i, id := range ids {
			free, err := b.freeAt(ctx, q, id, all[id])
			if err != nil {
				return err
			}
			if free != 0 {
				infos[len(infos)-len(ids)+i].Free = instant(free)
			}
		}
		return nil
	})
	return infos, failed(ctx, "names", err)
}
