package cli

import (
	"testing"
	"time"
)

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0µs", 1500: "1µs", 999_600: "999µs", 999_600 * time.Microsecond: "1s", 1_896 * time.Millisecond: "1.9s", 2 * time.Second: "2s",
		-9_940 * time.Millisecond: "9.9s", 9_960 * time.Millisecond: "10s", 15_600 * time.Millisecond: "16s", 119_700 * time.Millisecond: "2m",
		3*time.Minute + 59*time.Second: "4m", 90 * time.Minute: "90m", 3*time.Hour + 40*time.Minute: "4h", 71 * time.Hour: "3d", 1<<63 - 1: "106751d",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%v) = %s, want %s", d, got, want)
		}
	}
}
