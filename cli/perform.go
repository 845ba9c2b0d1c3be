package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
	"github.com/plainjobs/plainjobs/internal/payload"
)

func (p *program) performCommand() *cobra.Command {
	var in time.Duration
	var wait, unchecked bool
	c := &cobra.Command{
		Use:   "perform NAME [JSON] [flags]",
		Short: "Store a job",
		Long: `Perform stores a job with a payload and prints its ID. It checks the payload against
the job's type: unknown fields are an error. "-" reads the payload from standard
input.`,
		Example: `  perform welcome '{"email":"ada@example.com"}'
  perform import --in 10m - < import.json
  perform sum '[1,2,3]' --wait`,
		Args: takes(1, 2),
	}
	c.Flags().DurationVar(&in, "in", 0, "run the job after a `DURATION`, e.g. 10m")
	c.Flags().BoolVar(&wait, "wait", false, "wait until the job finishes, and print its result")
	c.Flags().BoolVar(&unchecked, "unchecked", false, "store any JSON, even for a job that this program does not define")
	jsonFlag(c)
	completesFirst(c, p.names)
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		if in < 0 {
			return usage("--in %v is negative: give a duration, e.g. 10m", in)
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
		job, err := newJob(q, args[0], data, unchecked)
		if err != nil {
			return err
		}
		job.Delay = in
		if most := (*engine.Handle)(q).Queue().MaxPayload; len(job.Payload) > most {
			return fmt.Errorf("perform: %w: it has %d bytes, the maximum is %d", plainjobs.ErrPayloadTooLarge, len(job.Payload), most)
		}
		if err := (*engine.Handle)(q).Queue().EncryptJob(&job); err != nil {
			return fmt.Errorf("perform: %w", err)
		}
		pushed, err := (*engine.Handle)(q).Queue().Backend.Push(ctx, []backend.NewJob{job})
		if err != nil {
			return err
		}
		id := pushed[0].ID
		if pushed[0].Duplicate {
			s.say("job #%d already has the unique key; nothing was stored", id)
		}
		if !wait {
			return s.stored(id)
		}
		s.say("waiting for job #%d", id)
		return s.result(ctx, q, id)
	})
}

// data returns the payload in the second argument or on standard input, or nil if there
// is none.
func (s *screen) data(args []string) ([]byte, error) {
	switch {
	case len(args) < 2:
		return nil, nil
	case args[1] == "-":
		return io.ReadAll(s.in)
	}
	return []byte(args[1]), nil
}

// newJob returns the job to store. A job that the program defines gets the same options
// as one performed with With.
func newJob(q *plainjobs.Queue, name string, data []byte, unchecked bool) (backend.NewJob, error) {
	d := (*engine.Handle)(q).Queue().Definition(engine.Lookup(name))
	if d == nil && !unchecked {
		var names []string
		for _, d := range engine.Definitions() {
			names = append(names, d.Name)
		}
		return backend.NewJob{}, usage("perform: unknown job %q%s (--unchecked stores it anyway)",
			name, didYouMean(name, names))
	}
	var job backend.NewJob
	var err error
	switch {
	case !unchecked:
		job, err = payload.NewJob(d, data)
	case data == nil:
		job, err = payload.Unchecked(d, name, []byte("null"))
	default:
		job, err = payload.Unchecked(d, name, data)
	}
	if err != nil {
		return job, usage("perform %s: %w", name, err)
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

// waitLook is how often result reads the job.
const waitLook = 20 * time.Millisecond

// result waits until a job is finished and prints its result.
func (s *screen) result(ctx context.Context, q *plainjobs.Queue, id int64) error {
	ticker := time.NewTicker(waitLook)
	defer ticker.Stop()
	for {
		i, err := q.Get(ctx, id)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("interrupted; job #%d stays in the queue: %w", id, ctx.Err())
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
			return fmt.Errorf("interrupted; job #%d stays in the queue: %w", id, ctx.Err())
		case <-ticker.C:
		}
	}
}
