package lifecycle

import (
	"cmp"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

// ResolveHistory returns h with the defaults for zeros, or the error of [check.History].
func ResolveHistory(h backend.History) (backend.History, error) {
	return override(h, backend.History{Done: 7 * 24 * time.Hour, Failed: 30 * 24 * time.Hour, Rows: 1_000_000}), check.History(h)
}

// HistoryOf returns the history of a name with settings s in a store with history h.
func HistoryOf(s backend.Settings, h backend.History) backend.History { return override(s.History, h) }

// override returns h with the fields of base for zeros.
func override(h, base backend.History) backend.History {
	return backend.History{
		Done:   cmp.Or(h.Done, base.Done),
		Failed: cmp.Or(h.Failed, base.Failed),
		Rows:   cmp.Or(h.Rows, base.Rows),

		DropDone:   h.DropDone || base.DropDone,
		DropFailed: h.DropFailed || base.DropFailed,
	}
}

// Drops reports whether h drops the payload of a job that ends in state s.
func Drops(h backend.History, s backend.State) bool {
	if s == backend.Done {
		return h.DropDone
	}
	return s.Terminal() && h.DropFailed
}

// Retention returns for how long h keeps a job that ends in state s.
func Retention(h backend.History, s backend.State) time.Duration {
	if s == backend.Done {
		return h.Done
	}
	return h.Failed
}
