package mysql

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/plainjobs/plainjobs/backend"
)

// The errors of a full disk, as servers send them.
func TestFullDisk(t *testing.T) {
	b := &Backend{}
	for _, c := range []struct {
		number  uint16
		message string
		full    bool
	}{
		{1021, "Disk full (/tmp/#sql); waiting for someone to free some space... (errno: 28 \"No space left on device\")", true},
		{1114, "The table 'plainjobs_job' is full", true},
		{3675, "Create table/tablespace 'plainjobs_job' failed, as disk is full.", true},
		{3, "Error writing file '/tmp/MLx' (Errcode: 28 \"No space left on device\")", true},
		{1026, "Error writing file 'binlog' (errno: 28 - No space left on device)", true},
		{1030, "Got error 28 \"No space left on device\" from storage engine InnoDB", true},
		{1030, "Got error 168 \"Unknown (generic) error from engine\" from storage engine InnoDB", false},
		{3, "Error writing file '/tmp/28' (Errcode: 5 \"Input/output error\")", false},
	} {
		err := b.failed(t.Context(), "push", &mysql.MySQLError{Number: c.number, Message: c.message})
		if errors.Is(err, backend.ErrNoSpace) != c.full || strings.Contains(err.Error(), "free space on it") != c.full {
			t.Errorf("of %d %q the store makes %v", c.number, c.message, err)
		}
	}
}
