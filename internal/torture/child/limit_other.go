//go:build !unix

package child

import "errors"

func limitFiles(int64) error { return errors.ErrUnsupported }
