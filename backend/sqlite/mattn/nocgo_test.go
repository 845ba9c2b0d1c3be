//go:build !cgo

package mattn_test

import "testing"

func Test(t *testing.T) {
	t.Skip("the mattn driver needs cgo and a C compiler; this build has CGO_ENABLED=0")
}
