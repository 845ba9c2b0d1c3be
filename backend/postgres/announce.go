package postgres

import (
	"strconv"
	"time"
)

// A transaction of the application tells of its jobs by a notification, which the
// server sends when it commits. Commits with notifications wait for each other in
// all of the server, each for the others' fsync, so of the transactions of a
// process one in announceEvery has one. Who hears it looks every expectPoll for as
// long, and finds the jobs of the others.
const (
	announceEvery = 50 * time.Millisecond
	expectFor     = announceEvery
	expectPoll    = 3 * time.Millisecond
)

// announcer is the sender that such a notification names. Those of a store's own
// commits name the store, which need not hear of them.
const announcer = "tx"

const selectAnnounced = `SELECT pg_notify($1::text, $2::text)`

// announce has the commit of t tell of the jobs that it makes claimable, unless
// another transaction of this process just has.
func (t *tx) announce() error {
	w := &t.b.watch
	if t.b.opts.NoListen || !w.announces(time.Now()) {
		return nil
	}
	_, err := t.exec(selectAnnounced, w.name(), announcer+" "+strconv.FormatInt(t.lowest, 10))
	return err
}

// announces reports whether it is time for a transaction that tells of its jobs.
func (w *listener) announces(now time.Time) bool {
	last := w.announced.Load()
	return now.UnixNano()-last >= int64(announceEvery) && w.announced.CompareAndSwap(last, now.UnixNano())
}

// expect takes note that a transaction of an application was heard of.
func (w *listener) expect() { w.expected.Store(time.Now().UnixNano()) }

// patience returns when to look next for the jobs of others, at the latest.
func (w *listener) patience(poll time.Duration) time.Duration {
	if since := time.Now().UnixNano() - w.expected.Load(); since >= 0 && since < int64(expectFor) {
		return min(poll, expectPoll)
	}
	return poll
}
