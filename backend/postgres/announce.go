package postgres

import "time"

// A transaction of the application that makes jobs claimable sends a notification,
// which the server delivers at its commit. Commits that notify wait for each other
// across the whole server, including each other's fsync. So in each process at
// most one transaction per announceEvery notifies. A process that receives the
// notification polls every expectPoll for expectFor, and so finds the jobs of the
// other transactions.
const (
	announceEvery = 50 * time.Millisecond
	expectFor     = announceEvery
	expectPoll    = 3 * time.Millisecond
)

// announcer is the sender in such a notification. Notifications of a store's own
// commits name the store, which ignores them.
const announcer = "tx"

const selectAnnounced = `SELECT pg_notify($1::text, $2::text)`

// announce makes the commit of t notify other processes of its jobs, unless
// another transaction of this process has just done so.
func (t *tx) announce() error {
	w := &t.b.watch
	if t.b.opts.NoListen || !w.announces(time.Now()) {
		return nil
	}
	_, err := t.exec(selectAnnounced, w.name(), announcer)
	return err
}

// announces reports whether a transaction may notify now, and counts it if so.
func (w *listener) announces(now time.Time) bool {
	last := w.announced.Load()
	return now.UnixNano()-last >= int64(announceEvery) && w.announced.CompareAndSwap(last, now.UnixNano())
}

// noteNotice notes that a transaction of an application has notified.
func (w *listener) noteNotice() { w.lastNotice.Store(time.Now().UnixNano()) }

// pollInterval returns the longest pause before the next poll for jobs of other
// processes.
func (w *listener) pollInterval(poll time.Duration) time.Duration {
	if since := time.Now().UnixNano() - w.lastNotice.Load(); since >= 0 && since < int64(expectFor) {
		return min(poll, expectPoll)
	}
	return poll
}
