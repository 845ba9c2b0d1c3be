package memory

import "github.com/plainjobs/plainjobs/backend"

// A line is the unfinished jobs with one serial key. Its head is the one that
// is not blocked.
type line struct {
	head    *job
	blocked queue
}

func (j *job) line() *line { return j.name.lines[j.more.serial] }

// takeLine reports whether j is the head of its line, and makes it that if
// there is none.
func (j *job) takeLine() bool {
	l := j.line()
	if l == nil {
		if j.name.lines == nil {
			j.name.lines = map[string]*line{}
		}
		l = &line{head: j}
		j.name.lines[j.more.serial] = l
	}
	return l.head == j
}

// giveLine takes a finished or deleted job from its line. If it was the head,
// the next one is that.
func (b *Backend) giveLine(j *job, now int64) {
	l := j.line()
	if l == nil || l.head != j {
		return
	}
	next := l.blocked.peek()
	if next == nil {
		delete(j.name.lines, j.more.serial)
		return
	}
	l.head = next
	if next.runAt > now {
		b.move(next, backend.Scheduled, now)
	} else {
		b.move(next, backend.Pending, now)
	}
}
