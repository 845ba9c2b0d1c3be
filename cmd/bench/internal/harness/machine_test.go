package harness

import "testing"

func TestCPUModel(t *testing.T) {
	if got := cpuModel("processor\t: 0\nmodel name\t: Abacus  3 @ 1 Hz\nmodel name\t: other\n"); got != "Abacus 3 @ 1 Hz" {
		t.Errorf("got %q", got)
	}
	if got := cpuModel("processor\t: 0\n"); got != "" {
		t.Errorf("got %q where none is told", got)
	}
}

func TestFileSystem(t *testing.T) {
	const mounts = `rootfs / rootfs rw 0 0
/dev/a / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/b /tmp/my\040disk xfs rw 0 0
`
	for path, want := range map[string]string{
		"/":               "ext4",
		"/home/x":         "ext4",
		"/tmp":            "tmpfs",
		"/tmp/x":          "tmpfs",
		"/tmpfile":        "ext4",
		"/tmp/my disk/db": "xfs",
	} {
		if got := fileSystem(mounts, path); got != want {
			t.Errorf("%s is on %q, not %q", path, got, want)
		}
	}
	if got := fileSystem("", "/"); got != "" {
		t.Errorf("got %q where none is told", got)
	}
}
