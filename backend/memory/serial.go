package memory

// A serialQueue is the unfinished jobs of one serial key. Its head is the job that is not
// blocked.
type serialQueue struct {
	head    *job
	blocked queue
}

func (j *job) serialQueue() *serialQueue { return j.name.serials[j.more.serial] }

// joinSerial adds j to the jobs of its serial key, and reports whether it is the head.
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

// leaveSerial removes a finished or deleted job from the jobs of its serial key. If it
// was the head, the next job becomes the head.
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
