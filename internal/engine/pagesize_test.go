package engine

import (
	"testing"
	"time"
)

func TestPageSize(t *testing.T) {
	size := FirstPage
	for range 50 {
		size = PageSize(size, time.Millisecond)
	}
	if size != largestPage {
		t.Errorf("after fast pages the size is %d", size)
	}
	for took, want := range map[time.Duration]int{8 * time.Millisecond: 500, 9 * time.Millisecond: 375, 17 * time.Millisecond: 250} {
		if got := PageSize(500, took); got != want {
			t.Errorf("after %v the size is %d, want %d", took, got, want)
		}
	}
	if got := PageSize(FirstPage, time.Minute); got != FirstPage {
		t.Errorf("after a slow page the size is %d", got)
	}
}
