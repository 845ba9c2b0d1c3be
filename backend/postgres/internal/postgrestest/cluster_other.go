//go:build !unix

package postgrestest

import "errors"

type cluster struct{}

func startCluster() (*cluster, error) {
	return nil, errors.New("the tests start servers on Unix only")
}

func (c *cluster) dsn(string) string         { return "" }
func (c *cluster) tcp(_, _, _ string) string { return "" }
func (c *cluster) stop()                     {}
