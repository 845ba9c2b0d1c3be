package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

func (p *program) performCommand() *cobra.Command {
	var in time.Duration
	var wait, unchecked bool
	c := &cobra.Command{
		Use:   "perform NAME [JSON] [flags]",
		Short: "Store a job",
		Long: `Perform stores a job with data, and prints its number. The data are checked
against the job's type: fields that it does not have are an error. They are read
from standard input if they are given as "-".`,
		Example: `  perform welcome '{"email":"ada@example.com"}'
  perform import --in 10m - < import.json
  perform sum '[1,2,3]' --wait`,
		Args: takes(1, 2),
	}
	c.Flags().DurationVar(&in, "in", 0, "run it after a `TIME`, as 10m")
	c.Flags().BoolVar(&wait, "wait", false, "wait until it is finished, and print its result")
	c.Flags().BoolVar(&unchecked, "unchecked", false, "store any JSON, for a job that this program does not define")
	jsonFlag(c)
	completesFirst(c, p.names)
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		if in < 0 {
			return usage("--in %v is not positive", in)
		}
		data, err := s.data(args)
		if err != nil {
			return err
		}
		q, done, err := p.open(ctx)
		if err != nil {
			return err
		}
		defer done()
		job, err := newJob(args[0], data, unchecked)
		if err != nil {
			return err
		}
		job.Delay = in
		if most := (*engine.Handle)(q).Queue().MaxPayload; len(job.Payload) > most {
			return fmt.Errorf("%w: %d bytes, at most %d", plainjobs.ErrPayloadTooLarge, len(job.Payload), most)
		}
		pushed, err := (*engine.Handle)(q).Queue().Backend.Push(ctx, []backend.NewJob{job})
		if err != nil {
			return err
		}
		id := pushed[0].ID
		if pushed[0].Duplicate {
			s.say("job #%d has the unique key already; nothing was stored", id)
		}
		if !wait {
			return s.stored(id)
		}
		s.say("waiting for job #%d", id)
		return s.result(ctx, q, id)
	})
}

// data returns the second argument, or what it stands for; nil if there is
// none.
func (s *screen) data(args []string) ([]byte, error) {
	switch {
	case len(args) < 2:
		return nil, nil
	case args[1] == "-":
		return io.ReadAll(s.in)
	}
	return []byte(args[1]), nil
}

// newJob returns the job that is to be stored. One that the program defines
// gets all that With gives it.
func newJob(name string, data []byte, unchecked bool) (backend.NewJob, error) {
	d := engine.Lookup(name)
	if unchecked {
		if data == nil {
			data = []byte("null")
		}
		if !json.Valid(data) {
			return backend.NewJob{}, usage("perform: the data are not JSON")
		}
		job := backend.NewJob{Name: name, Payload: data, MaxAttempts: plainjobs.DefaultMaxAttempts}
		if d != nil {
			job.MaxAttempts, job.Priority, job.MaxPending = d.MaxAttempts, d.Priority, d.MaxPending
		}
		return job, nil
	}
	if d == nil {
		var names []string
		for _, d := range engine.Definitions() {
			names = append(names, d.Name)
		}
		return backend.NewJob{}, usage("perform: this program defines no job %s, which --unchecked stores all the same%s",
			name, didYouMean(name, names))
	}
	v, err := decode(d, data)
	if err != nil {
		if all := mismatches(d, data); len(all) > 1 {
			err = errors.New(strings.Join(all, "; "))
		}
		return backend.NewJob{}, usage("perform %s: %w; it takes a %v, as %s", name, err, d.Type, example(d))
	}
	job := backend.NewJob{Name: d.Name, MaxAttempts: d.MaxAttempts, Priority: d.Priority, MaxPending: d.MaxPending}
	if job.Payload, err = json.Marshal(v); err != nil {
		return job, err
	}
	if d.Unique != nil {
		job.Unique = d.Unique(v)
	}
	if d.Serial != nil {
		job.Serial = d.Serial(v)
	}
	return job, nil
}

func (s *screen) stored(id int64) error {
	if s.json {
		return s.object(struct {
			ID int64 `json:"id"`
		}{id})
	}
	_, err := fmt.Fprintln(s.out, id)
	return err
}

// waitLook is how often result looks.
const waitLook = 20 * time.Millisecond

// result waits for a job's end and prints its result.
func (s *screen) result(ctx context.Context, q *plainjobs.Queue, id int64) error {
	ticker := time.NewTicker(waitLook)
	defer ticker.Stop()
	for {
		i, err := q.Get(ctx, id)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("interrupted; job #%d stays: %w", id, ctx.Err())
		case err != nil:
			return err
		case !i.State.Terminal():
		case s.json:
			if err := s.object(recordOf(&i)); err != nil || i.State == plainjobs.Done {
				return err
			}
			return errFailed
		case i.State == plainjobs.Done:
			s.say("job #%d is done", id)
			if i.Result != nil {
				fmt.Fprintln(s.out, cleanLines(string(i.Result)))
			}
			return nil
		default:
			return fmt.Errorf("job #%d is %v: %s", id, i.State, lastError(&i))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("interrupted; job #%d stays: %w", id, ctx.Err())
		case <-ticker.C:
		}
	}
}
