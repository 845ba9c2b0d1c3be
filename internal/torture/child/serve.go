package child

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net/url"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// serve obeys commands until [OpStop]. It opens the store for the first command
// that needs it.
func (c *child) serve(ctx context.Context) error {
	s := &server{child: c}
	c.say(Reply{Ready: true})
	for {
		var cmd Command
		if err := c.in.Decode(&cmd); err != nil {
			return err
		}
		if cmd.Op == OpStop {
			if s.store == nil {
				return nil
			}
			return s.store.Close()
		}
		r, err := s.do(ctx, cmd)
		if err != nil {
			r.Error = err.Error()
		}
		c.say(r)
	}
}

type server struct {
	*child
	store *sqlite.Backend
}

func (s *server) do(ctx context.Context, cmd Command) (r Reply, err error) {
	switch cmd.Op {
	case OpCheck:
		return r, s.raw(func(conn *sql.Conn) error {
			r.Check, err = check(ctx, conn)
			return err
		})
	case OpCopy:
		return r, s.raw(func(conn *sql.Conn) error {
			_, err := conn.ExecContext(ctx, "VACUUM INTO ?", cmd.Path)
			return err
		})
	case OpLock:
		return r, s.raw(func(conn *sql.Conn) error { return s.lock(ctx, conn, cmd.For) })
	case OpDuplicates:
		return r, s.raw(func(conn *sql.Conn) error {
			r.N, r.Check, err = duplicateKeys(ctx, conn, cmd.For)
			return err
		})
	case OpInspect:
		return s.inspect(ctx, cmd.Path)
	case OpCheckpoint:
		return r, s.raw(func(conn *sql.Conn) error {
			r.N, r.Frames, err = checkpoint(ctx, conn, cmd.Mode, cmd.For)
			return err
		})
	case OpExamine:
		e := s.examine(ctx, cmd.Path)
		return Reply{Exam: &e}, nil
	case OpSweep:
		sweep, err := s.sweep(cmd.Method, cmd.Stride, cmd.Offset)
		return Reply{Sweep: &sweep}, err
	case OpFaultyDisk:
		e := s.useFaultyDisk(ctx, cmd.Where, cmd.Path, cmd.Fault)
		return Reply{Endure: &e}, nil
	case OpDeadline:
		sweep, err := s.deadlines(ctx, cmd.N)
		return Reply{Sweep: &sweep}, err
	}
	if s.store == nil {
		if s.store, err = s.Open(s.Path, s.options()); err != nil {
			return r, err
		}
	}
	switch cmd.Op {
	case OpPush:
		tasks := make([]plainjobs.Task, len(cmd.Tasks))
		for i, t := range cmd.Tasks {
			tasks[i] = t.task()
			r.Numbers = append(r.Numbers, t.N)
		}
		r.IDs, err = plainjobs.New(s.store, nil).PerformMany(ctx, tasks...)
		return r, err
	case OpCount:
		counts, err := s.store.Count(ctx)
		r.Counts = map[string]int64{}
		for _, n := range counts {
			r.Counts[n.State.String()] += n.Jobs
		}
		return r, err
	case OpSettleStale:
		for _, l := range cmd.Leases {
			lost, err := s.store.Complete(ctx, []backend.Completion{{Lease: backend.Lease(l)}})
			if err != nil {
				return r, err
			}
			if len(lost) == 0 {
				r.N++
			}
		}
		return r, nil
	case OpEffects:
		r.Effects, err = s.effects(ctx)
		return r, err
	case OpSeal:
		r.N, err = seal(ctx, plainjobs.New(s.store, nil))
		return r, err
	case OpGroups:
		r.Groups, err = groups(ctx, plainjobs.New(s.store, nil), s.store)
		return r, err
	case OpSchedules:
		r.Schedules, err = schedules(ctx, s.store, cmd.Mode == "stop")
		return r, err
	case OpList:
		r.Jobs, err = list(ctx, s.store)
		return r, err
	}
	return r, fmt.Errorf("unknown operation %q", cmd.Op)
}

// list returns all jobs.
func list(ctx context.Context, store backend.Reader) (jobs []Job, err error) {
	for before := int64(0); ; {
		page, err := store.List(ctx, backend.ListRequest{Before: before, Limit: 1000, Payloads: true})
		if err != nil {
			return jobs, err
		}
		for _, i := range page.Jobs {
			j := Job{ID: i.ID, N: -1, State: i.State.String(), Failures: i.Failures, Crashes: i.Crashes, Suspect: i.Suspect}
			j.Sum = crc32.ChecksumIEEE(i.Payload)
			var t Task
			if json.Unmarshal(i.Payload, &t) == nil {
				j.N, j.Batch, j.Size = t.N, t.Batch, t.Size
				j.Fails, j.Needs, j.After = t.Fails, numbersText(t.Needs), numbersText(t.After)
			}
			var tick time.Time
			if json.Unmarshal(i.Payload, &tick) == nil {
				j.Name, j.Tick = i.Name, tick.UnixMicro()
			}
			if i.State == backend.Failed || i.State == backend.Cancelled {
				full, err := store.Get(ctx, i.ID)
				if err != nil {
					return jobs, err
				}
				if n := len(full.Errors); n > 0 {
					j.Error = full.Errors[n-1].Error[:min(200, len(full.Errors[n-1].Error))]
				}
			}
			jobs = append(jobs, j)
		}
		if before = page.Next; before == 0 {
			return jobs, nil
		}
	}
}

// raw calls f with its own connection, without the library.
func (s *server) raw(f func(*sql.Conn) error) (err error) {
	dsn := &url.URL{Scheme: "file", Path: s.Path, RawQuery: "_txlock=deferred"}
	db, err := sql.Open(s.SQL, dsn.String())
	if err != nil {
		return err
	}
	defer db.Close()
	ctx := context.Background()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, "PRAGMA busy_timeout=10000"); err != nil {
		return err
	}
	return f(conn)
}

// inspect lists, uses and checks another database.
func (s *server) inspect(ctx context.Context, path string) (r Reply, err error) {
	b, err := s.Open(path, nil)
	if err != nil {
		return r, err
	}
	q := plainjobs.New(b, nil)
	r.Jobs, err = list(ctx, b)
	if err == nil {
		r.Groups, err = groups(ctx, q, b)
	}
	if err == nil {
		_, err = q.Perform(ctx, Task{N: -1}.task())
	}
	if err = errors.Join(err, b.Close()); err != nil {
		return r, err
	}
	other := &server{child: &child{Driver: s.Driver, Order: Order{Path: path}}}
	return r, other.raw(func(conn *sql.Conn) error {
		r.Check, err = check(ctx, conn)
		return err
	})
}

// check returns what is wrong with the database, by SQLite or by the
// invariants, or "ok".
func check(ctx context.Context, conn *sql.Conn) (string, error) {
	rows, err := conn.QueryContext(ctx, "PRAGMA integrity_check(3)")
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return "", err
		}
		found = append(found, line)
	}
	if err := rows.Err(); err != nil {
		return "", err
	}
	if text := strings.Join(found, "; "); text != "ok" {
		return text, nil
	}
	text, err := broken(ctx, conn)
	if err == nil && text == "" {
		text = "ok"
	}
	return text, err
}

// lock holds the write lock for a while.
func (s *server) lock(ctx context.Context, conn *sql.Conn, d time.Duration) error {
	for {
		_, err := conn.ExecContext(ctx, "BEGIN EXCLUSIVE")
		if err == nil {
			break
		}
		if !strings.Contains(err.Error(), "locked") {
			return err
		}
	}
	s.say(Reply{Locked: true})
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
	_, err := conn.ExecContext(ctx, "COMMIT")
	return err
}

// checkpoint makes checkpoints for a while. It returns how many succeeded, and
// how many pages they moved.
func checkpoint(ctx context.Context, conn *sql.Conn, mode string, d time.Duration) (n, frames int64, err error) {
	// Checkpoints do not wait, so that there are many.
	if _, err := conn.ExecContext(ctx, "PRAGMA busy_timeout=5"); err != nil {
		return 0, 0, err
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		var blocked, total, moved int64
		err := conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&blocked, &total, &moved)
		switch {
		case err != nil && strings.Contains(err.Error(), "locked"):
		case err != nil:
			return n, frames, errors.Join(fmt.Errorf("checkpoint %s", mode), err)
		case blocked == 0:
			n++
			frames += max(moved, 0)
		}
	}
	return n, frames, nil
}
