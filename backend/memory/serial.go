package memory

// A serialQueue is the unfinished jobs with one serial key. Its head is the one that
// is not blocked.
type serialQueue struct {
	head    *job
	blocked queue
}

func (j *job) serialQueue() *serialQueue { return j.name.serials[j.more.serial] }

// joinSerial reports whether j is the head of its line, and makes it that if
// there is none.
func (j *job) joinSerial() bool {
	l := j.serialQueue()
	if l == nil {
		if j.name.serials == nil {
			j.name.serials = map[string]*serialQueue{}
		}
		l = &serialQueue{head: j}
		j.name.serials[j.more.serial] = l
	}
	return l.head == j
}

// leaveSerial takes a finished or deleted job from its line. If it was the head,
// the next one is that.
func (b *Backend) leaveSerial(j *job, now int64) {
	l := j.serialQueue()
	if l == nil || l.head != j {
		return
	}
	next := l.blocked.peek()
	if next == nil {
		delete(j.name.serials, j.more.serial)
		return
	}
	l.head = next
	b.move(next, next.Ready(now), now)
}
