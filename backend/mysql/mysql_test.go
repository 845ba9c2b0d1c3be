package mysql_test

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend/mysql/internal/mysqltest"
)

func TestMain(m *testing.M) { mysqltest.Main(m) }

func Test(t *testing.T) { mysqltest.Run(t) }
