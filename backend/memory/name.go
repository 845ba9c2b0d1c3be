package memory

import "github.com/plainjobs/plainjobs/backend"

// A name is the state of one job name.
type name struct {
	text              string
	pending, suspects queue
	done, failed      queue // in the order they finished; cancelled jobs are in failed
	counts            [backend.Cancelled + 1]int64
	uniques           map[string]*unique
	serials           map[string]*serialQueue
	turns             map[fairKey]*keyTurn
	fair              map[int16]*queue // pending jobs with fair keys that are no suspects, by priority and RunAt
	paused            bool
	settings          backend.Settings // that apply
	defined           backend.Settings
	differ            bool
	override          backend.Override
	history           backend.History
	rate              window
}

func (b *Backend) name(s string) *name {
	n := b.names[s]
	if n == nil {
		n = &name{text: s, history: b.history}
		b.names[s] = n
	}
	return n
}

// waiting returns the number of waiting jobs of the name.
func (n *name) waiting() int64 {
	return n.counts[backend.Scheduled] + n.counts[backend.Blocked] + n.counts[backend.Pending]
}

func (n *name) pendingJobs() *queue { return &n.pending }
func (n *name) suspectJobs() *queue { return &n.suspects }
