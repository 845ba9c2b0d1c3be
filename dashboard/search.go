package dashboard

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

const (
	// pageRows is the number of jobs on a page.
	pageRows = 50
	// searchWait bounds the search for the jobs of a page, and errorWait bounds reading
	// their errors for Redact. Both may take twice as long where reads are slow.
	searchWait = 30 * time.Millisecond
	errorWait  = 25 * time.Millisecond
	// payloadPage is how many jobs a search reads at once with their payloads, as long as
	// the payloads are small.
	payloadPage  = 256
	payloadBytes = 4 << 20
)

// A search collects the newest jobs that match a filter, in a bounded time.
type search struct {
	*handler
	rq      *request
	filter  plainjobs.Filter
	payload string // a part of the payload
	before  int64
	most    int

	jobs  []plainjobs.Info
	whole map[int64]bool // jobs that have their errors
	next  int64          // where the next page begins; zero if there is none
	ended bool           // the time was up before the page was full
}

// run collects the jobs.
func (s *search) run(ctx context.Context) error {
	s.whole = map[int64]bool{}
	left, err := s.counted(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	size := s.most + 1
	if s.payload != "" {
		size = 16
	}
	for before := s.before; left > 0; {
		began := time.Now()
		page, next, err := s.read(ctx, before, &size)
		if err != nil {
			return err
		}
		for i := range page {
			left--
			if !s.matches(ctx, &page[i]) {
				continue
			}
			if len(s.jobs) == s.most {
				s.next = s.jobs[s.most-1].ID
				return nil
			}
			s.jobs = append(s.jobs, page[i])
		}
		if before = next; before == 0 {
			return nil
		}
		if time.Since(start)+time.Since(began) > searchWait { // another read would take too long
			s.next, s.ended = before, true
			return nil
		}
	}
	return nil
}

// counted returns the number of matching jobs if the counts tell, or more than there can
// be.
func (s *search) counted(ctx context.Context) (int64, error) {
	f := filter{Filter: s.filter, Payload: s.payload}
	if !f.counted() || !f.Since.IsZero() || !f.Until.IsZero() || s.before != 0 {
		return 1<<63 - 1, nil
	}
	n, _, err := s.queue.Count(ctx, s.filter, false)
	return n, err
}

// read reads jobs below an ID: with their payloads only if the search is for one.
func (s *search) read(ctx context.Context, before int64, size *int) ([]plainjobs.Info, int64, error) {
	reader, ok := s.backend.(backend.Reader)
	if s.payload == "" || !ok {
		return s.queue.List(ctx, s.filter, before, min(*size, 1000))
	}
	f := s.filter
	page, err := reader.List(ctx, backend.ListRequest{
		Filter: backend.Filter{Names: f.Names, States: f.States, Key: f.Key, HasKey: f.HasKey, Error: f.Error, Since: f.Since, Until: f.Until, Gate: f.Group, Metadata: f.Metadata},
		Before: before, Limit: *size, Payloads: true,
	})
	var jobs []plainjobs.Info
	total := 0
	for i := range page.Jobs {
		j := &page.Jobs[i]
		total += len(j.Payload)
		jobs = append(jobs, plainjobs.Info{
			ID: j.ID, Name: j.Name, State: j.State, Attempt: attemptOf(j), MaxAttempts: j.MaxAttempts, Priority: j.Priority,
			Failures: j.Failures, Crashes: j.Crashes, Suspect: j.Suspect, CreatedAt: j.CreatedAt, RunAt: j.RunAt, FinishedAt: j.FinishedAt,
			StartedAt: j.StartedAt, ExpiresAt: j.ExpiresAt, UniqueKey: j.UniqueKey, KeyUntil: j.KeyUntil, SerialKey: j.SerialKey, FairKey: j.FairKey, BlockedBy: j.BlockedBy,
			CallbackOf: callbackOf(j), Worker: j.Worker, Cancelling: j.Cancelling, ProgressDone: j.Done, ProgressTotal: j.Total, Payload: j.Payload,
		})
	}
	// The next page reads about payloadBytes.
	if n := len(page.Jobs); n > 0 {
		*size = max(1, min(payloadPage, payloadBytes/max(1, total/n)))
	}
	return jobs, page.Next, err
}

func attemptOf(j *backend.Info) int {
	if j.State == plainjobs.Failed {
		return max(j.Failures, 1)
	}
	return j.Failures + 1
}

// matches reports whether the sender may see a job, and whether it has the wanted texts
// after Redact: a search must not find out what is not shown.
func (s *search) matches(ctx context.Context, job *plainjobs.Info) bool {
	if !s.rq.maySee(job.Name) {
		return false
	}
	if s.opts.Redact == nil {
		return s.payload == "" || !s.hides(job.Name) && bytes.Contains(job.Payload, []byte(s.payload))
	}
	if s.filter.Error != "" || s.filter.Key != "" || len(s.filter.Metadata) > 0 {
		whole, err := s.queue.Get(ctx, job.ID)
		if err != nil {
			return false
		}
		s.rq.redact(&whole)
		s.whole[job.ID] = true
		*job = whole
		return strings.Contains(lastError(job), s.filter.Error) && bytes.Contains(job.Payload, []byte(s.payload)) &&
			(s.filter.Key == "" || s.filter.Key == job.UniqueKey || s.filter.Key == job.SerialKey || s.filter.Key == job.FairKey) && s.hasMetadata(job)
	}
	s.rq.redact(job)
	return bytes.Contains(job.Payload, []byte(s.payload))
}

// hasMetadata reports whether a job has the pairs of the filter.
func (s *search) hasMetadata(job *plainjobs.Info) bool {
	for key, want := range s.filter.Metadata {
		if value, ok := job.Metadata[key]; !ok || value != want {
			return false
		}
	}
	return true
}

func lastError(job *plainjobs.Info) string {
	if n := len(job.Errors); n > 0 {
		return job.Errors[n-1].Error
	}
	return ""
}

// A jobRow is a job in a list.
type jobRow struct {
	ID          int64
	Href        string
	Name, State string
	Attempt     string
	Verb        string // before When
	When        moment
	Took        string
	Progress    int // in percent, or -1
	Error       string
	Key         string
	After       int64 // the job that has the serial key
	AfterGroup  int64 // whose callback it is, or in which it depends on others
	Select      bool  // the sender may change the job
}

// rows returns the jobs as rows, with their last errors.
func (s *search) rows(ctx context.Context) ([]jobRow, error) {
	var todo []plainjobs.Info
	for i := range s.jobs {
		if !s.whole[s.jobs[i].ID] {
			todo = append(todo, s.jobs[i])
		}
	}
	if err := s.addErrors(ctx, todo); err != nil {
		return nil, err
	}
	var rows []jobRow
	for i := range s.jobs {
		j := s.jobs[i]
		if !s.whole[j.ID] {
			read := todo[0]
			s.rq.redact(&read)
			j.Errors, todo = read.Errors, todo[1:]
		}
		rows = append(rows, s.rq.row(&j))
	}
	return rows, nil
}

// row returns a job as a row.
func (rq *request) row(j *plainjobs.Info) jobRow {
	r := jobRow{
		ID: j.ID, Href: jobHref(j.ID), Name: visible(j.Name), State: j.State.String(), Attempt: attempts(j), Progress: -1,
		Key: visible(j.UniqueKey), Error: cut(lastError(j), 160),
	}
	if r.Key == "" {
		r.Key = visible(j.SerialKey)
	}
	switch {
	case j.State == plainjobs.Done:
		r.Error = ""
		r.When = rq.ago(j.FinishedAt)
	case j.State.Terminal():
		r.When = rq.ago(j.FinishedAt)
	case j.State == plainjobs.Blocked && j.BlockedBy == 0 && j.CallbackOf != 0:
		r.Verb, r.AfterGroup = "after", j.CallbackOf
	case needsOthers(j):
		r.Verb, r.AfterGroup = "after others in", j.Groups[0]
	case j.State == plainjobs.Blocked && j.BlockedBy == 0:
		r.When = rq.ago(j.CreatedAt)
	case j.State == plainjobs.Blocked:
		r.Verb, r.After = "after", j.BlockedBy
	case j.State == plainjobs.Running && j.StartedAt.IsZero():
		r.Verb = "claimed"
	case j.State == plainjobs.Running:
		r.Verb, r.When = "for", rq.since(j.StartedAt)
	case j.State == plainjobs.Pending:
		r.Verb, r.When = "waiting", rq.since(claimable(j))
	default:
		r.When = rq.ago(j.RunAt)
	}
	if j.State.Terminal() && !j.StartedAt.IsZero() {
		r.Took = short(j.FinishedAt.Sub(j.StartedAt))
	}
	if j.State == plainjobs.Running && j.ProgressTotal > 0 {
		r.Progress = int(max(0, min(100, 100*float64(j.ProgressDone)/float64(j.ProgressTotal))))
	}
	if j.Cancelling {
		r.State = "cancelling"
	}
	return r
}

// attempts returns the attempt of a job, and how many it has.
func attempts(j *plainjobs.Info) string {
	if j.State == plainjobs.Done {
		return fmt.Sprint(j.Attempt)
	}
	return fmt.Sprintf("%d of %d", j.Attempt, j.MaxAttempts)
}

// claimable returns since when a pending job may be claimed. RunAt of a job with a fair key is its
// turn, which may be before its push.
func claimable(j *plainjobs.Info) time.Time {
	if j.RunAt.Before(j.CreatedAt) {
		return j.CreatedAt
	}
	return j.RunAt
}
