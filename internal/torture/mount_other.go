//go:build !linux

package torture

func mountSmall(string, int) error { return &Skip{"small file systems in memory are Linux's"} }

func unmount(string) error { return nil }
