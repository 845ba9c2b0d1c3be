package sqlite

// Path returns the file of a store.
func (b *Backend) Path() string { return b.path }

// OlderThan is olderThan.
var OlderThan = olderThan
