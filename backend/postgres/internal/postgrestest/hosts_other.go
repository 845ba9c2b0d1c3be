//go:build !linux

package postgrestest

import (
	"errors"
	"testing"
)

const hostVariable = "PLAINJOBS_TEST_HOST"

func (d Driver) host(string) error { return errors.New("hosts need Linux") }

func (d Driver) testHosts(t *testing.T) { t.Skip("network namespaces need Linux") }
