package mysql_test

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend/mysql/internal/mysqltest"
)

func TestMain(m *testing.M) { mysqltest.Main(m) }

func Test(t *testing.T) { mysqltest.Run(t) }

func BenchmarkDrain(b *testing.B) { mysqltest.BenchDrain(b) }

func BenchmarkPush(b *testing.B) { mysqltest.BenchPush(b) }

func BenchmarkDepth(b *testing.B) { mysqltest.BenchDepth(b) }
