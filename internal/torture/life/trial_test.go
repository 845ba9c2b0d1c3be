package life_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/torture/life"
)

// A verdict is a rule that fails a job for the deaths of its workers.
type verdict struct {
	name string
	// company counts a death against the only suspect, whatever else ran.
	// Otherwise a death counts only if nothing else ran.
	company bool
	bound   int
	// further bounds the deaths as the only suspect, also in company. Zero is
	// no bound.
	further int
	// apart is how long, at most, no job starts next to a suspect.
	apart time.Duration
}

// A trial is the load of one worker process, which is restarted when it dies.
type trial struct {
	name      string
	innocents int           // jobs at the start
	takes     time.Duration // how long each runs
	killers   int           // jobs that end their process, at the start
	kills     time.Duration // a killer ends the process within this time, at random
	outside   time.Duration // mean time between kills from outside; zero is none
	arrivals  time.Duration // mean time between further jobs of two seconds; zero is none
	one       int           // one of so many further jobs is a killer; zero is none
}

const (
	slots    = 4
	restart  = time.Second
	brief    = 2 * time.Second  // how long further jobs run
	arriving = 20 * time.Minute // for how long they come
	horizon  = 12 * time.Hour   // when the trial is over
	ever     = time.Duration(math.MaxInt64)
)

// A suspected job is a job of a trial.
type suspected struct {
	life.Job
	killer     bool
	takes      time.Duration
	deaths     int // as the only suspect
	pushed     time.Duration
	begin, end time.Duration // of the run
}

func (j *suspected) runs() bool { return j.State == backend.Running }

// An outcome counts how jobs ended. The innocents are those of the start.
type outcome struct {
	innocents, failed int
	killers, found    int
	deaths            int           // of the process
	waited            time.Duration // until they were done, all innocents together
}

// seconds is the mean time until an innocent job was done, of those that were.
func (o outcome) seconds() string {
	if o.innocents == o.failed {
		return "-"
	}
	return fmt.Sprintf("%.0f", o.waited.Seconds()/float64(o.innocents-o.failed))
}

func (o *outcome) add(p outcome) {
	o.innocents += p.innocents
	o.failed += p.failed
	o.killers += p.killers
	o.found += p.found
	o.deaths += p.deaths
	o.waited += p.waited
}

// A process is one run of a trial, in simulated time.
type process struct {
	trial
	verdict
	o                 outcome
	random            *rand.Rand
	now, up           time.Duration
	outsider, arrival time.Duration // times of the next kill from outside and the next job
	jobs              []*suspected  // that have not ended, in the order of claims
}

// try runs a trial with a rule.
func try(c trial, v verdict, seed uint64) outcome {
	p := &process{
		trial: c, verdict: v, outsider: ever, arrival: ever,
		random: rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // it is to be repeatable
	}
	p.o.innocents, p.o.killers = c.innocents, c.killers
	for i := range c.innocents + c.killers {
		p.push(i < c.killers, c.takes)
	}
	p.random.Shuffle(len(p.jobs), func(i, j int) { p.jobs[i], p.jobs[j] = p.jobs[j], p.jobs[i] })
	if c.outside > 0 {
		p.outsider = p.after(c.outside)
	}
	if c.arrivals > 0 {
		p.arrival = p.after(c.arrivals)
	}
	for p.now < horizon && (len(p.jobs) > 0 || p.arrival < ever) {
		p.step(p.claim())
	}
	return p.o
}

// after returns the time after a random delay with that mean.
func (p *process) after(mean time.Duration) time.Duration {
	return p.now + time.Duration(p.random.ExpFloat64()*float64(mean))
}

func (p *process) push(killer bool, takes time.Duration) {
	p.jobs = append(p.jobs, &suspected{Job: life.Job{State: backend.Pending}, killer: killer, takes: takes, pushed: p.now})
}

// claim fills the slots. It returns when the next slot may be filled, if that
// depends on time alone.
func (p *process) claim() (next time.Duration) {
	if p.now < p.up {
		return p.up
	}
	running := 0
	var suspect *suspected
	for _, j := range p.jobs {
		if j.runs() {
			running++
			if j.Suspect {
				suspect = j
			}
		}
	}
	for _, j := range p.jobs {
		if suspect != nil && p.now < suspect.begin+p.apart {
			return suspect.begin + p.apart
		}
		if running == slots {
			break
		}
		if j.runs() || j.Suspect && suspect != nil {
			continue
		}
		if running++; j.Suspect {
			suspect = j
		}
		j.Start(1, 1)
		j.begin, j.end = p.now, p.now+j.takes
		if j.killer {
			j.end = p.now + time.Duration(p.random.Int64N(int64(p.kills)))
		}
	}
	return ever
}

// step advances to the next event, at next at the latest.
func (p *process) step(next time.Duration) {
	next = min(next, p.outsider, p.arrival)
	var first *suspected
	for _, j := range p.jobs {
		if j.runs() && j.end <= next {
			first, next = j, j.end
		}
	}
	p.now = next
	switch {
	case first != nil && first.killer:
		p.die()
	case first != nil:
		p.jobs = slices.DeleteFunc(p.jobs, func(j *suspected) bool { return j == first })
		if first.takes != brief {
			p.o.waited += p.now - first.pushed
		}
	case p.now == p.outsider:
		p.outsider = p.after(p.outside)
		p.die()
	case p.now == p.arrival:
		killer := p.one > 0 && p.random.IntN(p.one) == 0
		p.push(killer, brief)
		if killer {
			p.o.killers++
		}
		if p.arrival = p.after(p.arrivals); p.arrival > arriving {
			p.arrival = ever
		}
	}
}

// die ends the process, and judges its jobs.
func (p *process) die() {
	p.o.deaths++
	p.up = p.now + restart
	held, suspects := 0, 0
	for _, j := range p.jobs {
		if j.runs() {
			held++
			if j.Suspect {
				suspects++
			}
		}
	}
	for _, j := range p.jobs {
		if !j.runs() {
			continue
		}
		counts := held == 1
		if j.Suspect && suspects == 1 {
			counts = counts || p.company
			j.deaths++
		}
		bound := p.bound
		if p.further > 0 && j.deaths >= p.further {
			bound, counts = 1, true
		}
		j.Rescue(counts, backend.Settings{MaxCrashes: bound})
		switch {
		case j.State != backend.Failed:
		case j.killer:
			p.o.found++
		case j.takes != brief:
			p.o.failed++
		}
	}
	p.jobs = slices.DeleteFunc(p.jobs, func(j *suspected) bool { return j.State == backend.Failed })
}
