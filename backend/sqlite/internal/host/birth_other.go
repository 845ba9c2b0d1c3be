//go:build !linux

package host

// Birth returns an empty string: only Linux is asked for creation times.
func Birth(string) (string, error) { return "", nil }
