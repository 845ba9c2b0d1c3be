//go:build !linux

package torture

import "errors"

const haveResources = false

func resources(int) (resident int64, handles int, err error) {
	return 0, 0, errors.New("only Linux says what a process uses")
}
