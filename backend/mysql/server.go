package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// A server is what the store knows of its server.
type server struct {
	product  string // "MariaDB 10.11.19"
	database string
	packet   int64 // max_allowed_packet
	flush    int64 // innodb_flush_log_at_trx_commit
	sync     int64 // sync_binlog
	binlog   bool
	format   string // binlog_format
	readOnly bool
	charset  string // character_set_client of the session
}

const selectServer = `
	SELECT VERSION(), COALESCE(DATABASE(), ''), CURRENT_USER(), @@max_allowed_packet, @@innodb_flush_log_at_trx_commit, @@sync_binlog,
		@@log_bin, @@binlog_format, @@read_only, @@character_set_client`

// The oldest supported releases.
const (
	minMariaDB = "10.6"
	minMySQL   = "8.0"
)

// checkServer reads what the store needs to know of the server, and returns an error if the
// server cannot keep a queue.
func (b *Backend) checkServer(ctx context.Context) error {
	var s server
	version := ""
	err := b.scan(ctx, b.db, selectServer, nil, func(r *sql.Rows) error {
		return r.Scan(&version, &s.database, &b.user, &s.packet, &s.flush, &s.sync, &s.binlog, &s.format, &s.readOnly, &s.charset)
	})
	if err != nil {
		return err
	}
	if user, host, ok := strings.Cut(b.user, "@"); ok {
		b.user = fmt.Sprintf("'%s'@'%s'", user, host)
	}
	if err := s.accept(version); err != nil {
		return rejected{err}
	}
	b.server = s
	b.room = int(s.packet / 4)
	return nil
}

var release = regexp.MustCompile(`^(?:5\.5\.5-)?(\d+)\.(\d+)`)

// accept sets the product, or returns why the server cannot keep a queue.
func (s *server) accept(version string) error {
	product, minimum := "MySQL", minMySQL
	if strings.Contains(version, "MariaDB") {
		product, minimum = "MariaDB", minMariaDB
	}
	m := release.FindStringSubmatch(version)
	s.product = product + " " + strings.TrimPrefix(strings.SplitN(version, "-MariaDB", 2)[0], "5.5.5-")
	switch {
	case m == nil || older(m[1]+"."+m[2], minimum):
		return fmt.Errorf("%w: the server is %s; a queue needs MariaDB %s or MySQL %s, or later; upgrade the server", backend.ErrInvalid, s.product, minMariaDB, minMySQL)
	case s.database == "":
		return fmt.Errorf("%w: the connections have no database; name one after the slash of the DSN", backend.ErrInvalid)
	case s.packet < minPacket:
		return fmt.Errorf("%w: max_allowed_packet is %d; a queue needs %d: raise it on the server", backend.ErrInvalid, s.packet, minPacket)
	case unsafeCharsets[s.charset]:
		return fmt.Errorf("%w: the connections use the character set %s, in which the driver cannot quote payloads safely; remove charset, or write "+
			"charset=utf8mb4, in the DSN and in the server's init_connect", backend.ErrInvalid, s.charset)
	case s.binlog && s.format == "STATEMENT":
		return fmt.Errorf("%w: binlog_format is STATEMENT, with which READ COMMITTED transactions cannot write; set binlog_format to ROW or MIXED", backend.ErrInvalid)
	}
	return nil
}

// unsafeCharsets are the character sets that have characters whose second byte is a backslash or
// a quote. The driver escapes bytes one by one, so that a payload could end the text it is in.
var unsafeCharsets = map[string]bool{"big5": true, "cp932": true, "gb18030": true, "gb2312": true, "gbk": true, "sjis": true}

// minPacket is the least max_allowed_packet: an error text and its stack fit.
const minPacket = 1 << 20

// older reports whether version a, of two numbers, is less than b.
func older(a, b string) bool {
	parse := func(text string) (n int) {
		major, minor, _ := strings.Cut(text, ".")
		x, _ := strconv.Atoi(major)
		y, _ := strconv.Atoi(minor)
		return 1000*x + y
	}
	return parse(a) < parse(b)
}

// durability returns what a commit survives.
func (s *server) durability() backend.Durability {
	if s.flush == 1 && (!s.binlog || s.sync == 1) {
		return backend.PowerLoss
	}
	return backend.ProcessCrash
}

// maxPayload returns the size of the largest payload. Other data of a job is in the same
// packet.
func (s *server) maxPayload() int { return int(s.packet) - 256<<10 }
