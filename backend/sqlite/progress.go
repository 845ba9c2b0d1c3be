package sqlite

import (
	"context"

	"github.com/plainjobs/plainjobs/backend"
)

const (
	updateProgressing = `UPDATE plainjobs_jobs SET flags = flags | ? WHERE id = ? AND +token = ? AND +state = 4`
	upsertProgress    = `
		INSERT INTO plainjobs_progress (job, done, total) VALUES (?, ?, ?)
		ON CONFLICT (job) DO UPDATE SET done = excluded.done, total = excluded.total`
)

// StoreProgress implements [backend.Heartbeater].
func (b *Backend) StoreProgress(ctx context.Context, progress []backend.Progress) error {
	if len(progress) == 0 {
		return nil
	}
	return b.write(ctx, &request{op: "progress", run: func(t *tx) error {
		for _, p := range progress {
			n, err := t.execN(updateProgressing, int64(flagProgress), p.ID, p.Token)
			if err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			if _, err := t.exec(upsertProgress, p.ID, p.Done, p.Total); err != nil {
				return err
			}
		}
		return nil
	}})
}
