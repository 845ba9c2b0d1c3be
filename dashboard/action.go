package dashboard

import (
	"slices"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// An Action is what a request does. [View] needs the role [Read], and every other action
// needs [Full].
type Action string

// The actions.
const (
	View       Action = "view"       // read pages
	Retry      Action = "retry"      // run finished jobs again
	RunNow     Action = "run-now"    // run scheduled jobs at once, and the job of a schedule between its ticks
	Cancel     Action = "cancel"     // cancel waiting and running jobs
	Delete     Action = "delete"     // delete jobs that are not running
	Prioritize Action = "prioritize" // change the priority of waiting jobs
	FreeKey    Action = "free-key"   // let new jobs have a unique key that a job keeps after its end
	Limit      Action = "limit"      // change the limits of a name
	Pause      Action = "pause"      // pause and resume a name, a schedule, or with an empty name all jobs or a group
	Duplicate  Action = "duplicate"  // store a new job with the payload of another, edited or not
)

// A verb is an action on jobs that a list selects.
type verb struct {
	action Action
	label  string // of its button
	ofAll  string // before the number of jobs on a filter, if that is not the label
	past   string
	grave  bool // it cannot be undone, so it needs a confirmation
	keyed  bool // it applies only to jobs that keep a unique key for a time
	// states are the states of the jobs that it applies to. On a whole filter without a
	// state it applies to those in usual.
	states, usual []plainjobs.State
}

var waiting = []plainjobs.State{plainjobs.Scheduled, plainjobs.Blocked, plainjobs.Pending}

// verbs are in the order of their buttons.
var verbs = []*verb{
	{
		action: Retry, label: "Retry", past: "retried", states: []plainjobs.State{plainjobs.Done, plainjobs.Failed, plainjobs.Cancelled},
		usual: []plainjobs.State{plainjobs.Failed, plainjobs.Cancelled},
	},
	{action: RunNow, label: "Run now", past: "made due", states: []plainjobs.State{plainjobs.Scheduled}, usual: []plainjobs.State{plainjobs.Scheduled}},
	{action: Prioritize, label: "Set priority", ofAll: "Set the priority of", past: "given another priority", states: waiting, usual: waiting},
	{
		action: FreeKey, label: "Free the key", ofAll: "Free the keys of", past: "freed of the key", keyed: true,
		states: []plainjobs.State{plainjobs.Running, plainjobs.Done, plainjobs.Failed},
	},
	{action: Cancel, label: "Cancel", past: "cancelled", grave: true, states: append(waiting[:3:3], plainjobs.Running), usual: append(waiting[:3:3], plainjobs.Running)},
	{action: Delete, label: "Delete", past: "deleted", grave: true, states: append(waiting[:3:3], plainjobs.Done, plainjobs.Failed, plainjobs.Cancelled)},
}

func verbOf(a Action) *verb {
	for _, v := range verbs {
		if v.action == a {
			return v
		}
	}
	return nil
}

// takes reports whether the verb applies to a job.
func (v *verb) takes(j *plainjobs.Info) bool {
	return slices.Contains(v.states, j.State) && (!v.keyed || !j.KeyUntil.IsZero()) && (v.action != Retry || !j.Dropped)
}

// operates reports whether the store can change jobs.
func (h *handler) operates() bool { return has[backend.Operator](h.backend) }
