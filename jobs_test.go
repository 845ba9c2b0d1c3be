package plainjobs_test

import (
	"fmt"
	"strings"

	"github.com/plainjobs/plainjobs"
)

var (
	lifeJob  = plainjobs.Declare[string]("life/plain", plainjobs.MaxAttempts(2))
	keyedJob = plainjobs.Declare[order]("life/keyed", plainjobs.UniqueBy(orderKey), plainjobs.SerialBy(orderKey))
	boundJob = plainjobs.Declare[string]("life/bound", plainjobs.MaxPending(2))
	// longKeyJob has a key that every store refuses.
	longKeyJob    = plainjobs.Declare[string]("life/long-key", plainjobs.UniqueBy(func(string) string { return strings.Repeat("k", 256) }))
	renamedResult = plainjobs.DeclareResult[int, int]("life/result-new", plainjobs.Aliases("life/result-old"))
	resultJob     = plainjobs.DeclareResult[int, string]("life/result")
)

func orderKey(o order) string {
	if o.ID == 0 {
		return ""
	}
	return fmt.Sprint("order-", o.ID)
}
