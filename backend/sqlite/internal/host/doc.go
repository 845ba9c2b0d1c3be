// Package host has what the SQLite store needs from the operating system: file
// locks, sockets, the identity of files, file systems, owners and modes. It knows
// nothing of jobs. Each function has a fallback for systems without the feature.
//
//   - [LivenessLock] and [Peer] show and detect whether a process is alive.
//   - [LockQueue] lets processes wait in the kernel for SQLite's write lock.
//   - [Notifier] sends one-byte datagrams to the other processes of a database.
//   - [FindLockHolder] says which process has SQLite's write lock.
//   - [Identify], [Birth] and [Inspect] tell files apart.
//   - [Classify], [FreeSpace] and [IsFull] describe file systems.
//   - [SideDir] and the functions next to it create the files next to a database.
//
// No function opens a database file, except [ReadHeader]: closing any descriptor
// of a file drops the POSIX locks that SQLite has on it.
package host
