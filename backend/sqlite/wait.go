package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

// pollInterval is how often a waiting call polls for commits of other connections.
// Each poll wakes Go's scheduler a dozen times: at 100 ms, a waiting worker takes more
// than half a percent of a core.
const pollInterval = 150 * time.Millisecond

const (
	selectNextDue = `
		SELECT coalesce(min(run_at), 0) FROM plainjobs_job INDEXED BY plainjobs_job_scheduled WHERE state = 1 AND run_at > (?+0)`

	// One more than a claim makes pending.
	selectDueNames = `
		SELECT name, count(*) FROM (
			SELECT name FROM plainjobs_job INDEXED BY plainjobs_job_scheduled WHERE state = 1 AND run_at <= (?+0) ORDER BY run_at LIMIT 1001)
		GROUP BY name`
)

// Wait implements [backend.Waiter].
func (b *Backend) Wait(ctx context.Context, req backend.ClaimRequest) error {
	if err := check.Claim(req); err != nil {
		return failed(ctx, "wait", err)
	}
	v := b.watch.join()
	defer b.watch.leave(v)
	defer b.notifier.Listen(b.onSignal)()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	soon := newBackoffTimer()
	defer soon.timer.Stop()
	for {
		if closed := b.watch.begin(v); closed {
			return failed(ctx, "wait", backend.ErrClosed)
		}
		l, err := b.look(ctx, req)
		if err != nil && !busy(err) {
			return failed(ctx, "wait", err)
		}
		if l.ready {
			return nil
		}
		b.watch.found(false)
		b.watch.looked(v, l.plain)
		if ready, err := b.sleep(ctx, v, ticker.C, soon, l); ready || err != nil {
			return failed(ctx, "wait", err)
		}
	}
}

// signalPeers signals other processes.
func (b *Backend) signalPeers(woke, asks bool) {
	var signals host.Signal
	if woke {
		signals |= committed
	}
	if asks {
		signals |= lockWanted
	}
	b.notifier.Notify(signals)
}

// onSignal handles the signals of another process, and returns for how long to
// receive no more.
func (b *Backend) onSignal(signals host.Signal) time.Duration {
	if signals&lockWanted != 0 && b.appQueue != nil {
		b.appQueue.enter()
	}
	if signals&txPending != 0 {
		b.watch.notifyPendingTx()
	}
	if signals&committed == 0 {
		return 0
	}
	if b.watch.notify(nil) == 0 {
		return idlePause
	}
	return b.watch.pause()
}

// idlePause is how long signals are not received after one for which no call waits.
const idlePause = 2 * time.Millisecond

// txNoticeInterval is the shortest time between two notices of a pending transaction.
// An application may push many jobs one by one.
const txNoticeInterval = time.Millisecond

// notifyPendingTx makes waiting calls, also of other processes, poll often for a while.
// An application has pushed in its own transaction.
func (b *Backend) notifyPendingTx() {
	now := time.Now().UnixNano()
	if since := now - b.watch.lastTxNotice.Load(); since >= 0 && since < int64(txNoticeInterval) {
		return
	}
	b.watch.lastTxNotice.Store(now)
	b.watch.notifyPendingTx()
	b.notifier.Notify(txPending)
}

// A look is the result of a search for claimable jobs.
type look struct {
	ready   bool     // a claim may find a job
	due     int64    // when the next job is due, in microseconds, or 0
	plain   []string // names whose pushed jobs may be claimed
	version int64    // the data_version of the database that was searched
}

// look searches for claimable jobs.
func (b *Backend) look(ctx context.Context, req backend.ClaimRequest) (l look, err error) {
	leave, err := b.enter()
	if err != nil {
		return l, err
	}
	defer leave()
	if b.readers == nil {
		err = b.read(ctx, func(q queryer) (err error) {
			l, err = b.lookAt(ctx, q, req)
			return err
		})
		return l, err
	}
	err = retry(ctx, time.Now().Add(lockWait), func() error {
		return b.watch.ask(b.readers, func(q source) error {
			v, err := version(q) // first, so that no change is missed
			if err == nil {
				l, err = b.lookAt(ctx, q, req)
			}
			l.version = v
			return err
		})
	})
	return l, err
}

func (b *Backend) lookAt(ctx context.Context, q source, req backend.ClaimRequest) (l look, err error) {
	set, version, err := b.settings(ctx, q)
	if err != nil || set[wholeQueue].paused {
		return l, err
	}
	s := &searcher{b: b, ctx: ctx, q: q, req: &req, set: set, now: b.now()}
	if s.names, err = b.lookNames(ctx, q, req.Names); err != nil {
		return l, err
	}
	l.plain = s.plain(version)
	if l.ready, err = s.ready(); err != nil || l.ready {
		return l, err
	}
	if l.ready, err = s.due(); err != nil || l.ready {
		return l, err
	}
	err = scan(ctx, q, b.sql(selectNextDue), []any{s.now}, func(r *sql.Rows) error { return r.Scan(&l.due) })
	if s.free != 0 && (l.due == 0 || s.free < l.due) {
		l.due = s.free
	}
	return l, err
}

// sleep waits until it is time to look again. It returns true if a claim may find a
// job without another look.
func (b *Backend) sleep(ctx context.Context, v *waiter, tick <-chan time.Time, soon *backoffTimer, l look) (ready bool, err error) {
	var alarm <-chan time.Time
	if l.due != 0 {
		// An imported time may be more than 292 years ahead.
		wait := min(l.due-b.now(), time.Hour.Microseconds())
		timer := time.NewTimer(time.Duration(wait) * time.Microsecond)
		defer timer.Stop()
		alarm = timer.C
	}
	for {
		select {
		case <-v.arrived:
			return true, nil
		case <-v.changed:
			return false, nil
		case <-alarm:
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		case <-v.expects:
			soon.start()
			continue
		case <-soon.timer.C:
			soon.next()
		case <-tick:
		}
		if b.readers == nil || l.due != 0 && l.due <= b.now() {
			return false, nil // there is no data_version to poll, or the clock was set
		}
		leave, err := b.enter()
		if err != nil {
			return false, err
		}
		version, err := b.watch.version(b.readers)
		leave()
		if err != nil && !busy(err) {
			return false, err
		}
		if err == nil && version != l.version {
			return false, nil
		}
	}
}
