package sqlite

import "testing"

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0.0 MiB", 1 << 20: "1.0 MiB", 1023 << 20: "1023.0 MiB", 72843_6 << 20 / 10: "71.1 GiB", 5 << 40: "5.0 TiB", 5000 << 40: "5000.0 TiB",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%d) = %s, want %s", n, got, want)
		}
	}
}
