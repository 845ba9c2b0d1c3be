package host

import "time"

// MaxQueueWait is the longest time that a process waits in a [LockQueue].
const MaxQueueWait = 2 * time.Second
