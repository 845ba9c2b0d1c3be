//go:build !linux

package sqlite

// lockHolder finds nobody: only Linux lists who has which lock.
func lockHolder(string) (holder, bool) { return holder{}, false }
