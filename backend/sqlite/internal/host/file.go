package host

// A File describes a file without opening it.
type File struct {
	Key     any  // equal for all names of one file
	Regular bool // neither a directory nor a device
	Links   uint64
	Mount   bool // the file itself is a mount point
}
