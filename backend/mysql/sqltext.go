package mysql

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/plainjobs/plainjobs/backend/mysql/internal/skew"
)

// now stands in a statement for the store's clock, in microseconds UTC.
const now = `{now}`

const serverClock = `TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))`

const defaultPrefix = "plainjobs_"

// sql returns a statement with the tables' prefix and the clock filled in.
func (b *Backend) sql(query string) string {
	clock := serverClock
	ahead := skew.Of(b.opts.Prefix)
	if ahead != 0 {
		clock = fmt.Sprintf("(%s + %d)", serverClock, ahead.Microseconds())
	}
	if text, ok := b.texts.Load(query); ok && ahead == 0 {
		return text.(string)
	}
	text := strings.ReplaceAll(query, defaultPrefix, b.opts.Prefix)
	text = strings.ReplaceAll(text, now, clock)
	if ahead == 0 && b.cached.Load() < maxTexts {
		if _, known := b.texts.LoadOrStore(query, text); !known {
			b.cached.Add(1)
		}
	}
	return text
}

// maxTexts bounds the statements that the store keeps with the prefix filled in. Statements
// whose length depends on the number of names or ranges have many forms.
const maxTexts = 1000

// An idList is the IDs of a list: "id IN (?)".
type idList []int64

// fill returns a statement with the values in place of its question marks, and the parameters
// that are left: byte strings. Numbers and hexadecimal text are safe in every sql_mode and
// character set. A statement without parameters takes one round trip, whether the driver
// interpolates parameters or prepares statements.
func fill(query string, args []any) (text string, rest []any) {
	if len(args) == 0 {
		return query, nil
	}
	var b strings.Builder
	b.Grow(len(query) + 24*len(args))
	for _, arg := range args {
		at := strings.IndexByte(query, '?')
		b.WriteString(query[:at])
		query = query[at+1:]
		switch v := arg.(type) {
		case int:
			b.WriteString(strconv.Itoa(v))
		case int64:
			b.WriteString(strconv.FormatInt(v, 10))
		case bool:
			b.WriteByte(digit(v))
		case string:
			b.WriteString("x'")
			b.WriteString(hex.EncodeToString([]byte(v)))
			b.WriteByte('\'')
		case idList:
			b.WriteString(joined(v))
		case values:
			b.WriteByte('\'')
			b.Write(v)
			b.WriteString("]'")
		case []byte:
			if v == nil {
				b.WriteString("NULL")
				continue
			}
			b.WriteByte('?')
			rest = append(rest, v)
		default:
			panic(fmt.Sprintf("mysql: a parameter of type %T", arg))
		}
	}
	b.WriteString(query)
	return b.String(), rest
}

func digit(v bool) byte {
	if v {
		return '1'
	}
	return '0'
}

func joined(ids []int64) string {
	text := make([]byte, 0, 12*len(ids))
	for i, id := range ids {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendInt(text, id, 10)
	}
	return string(text)
}

// values are rows that a statement joins with a table, as a JSON array without its end.
// Texts are hexadecimal.
type values []byte

// add adds a row.
func (v *values) add(row ...any) {
	text := *v
	if len(text) == 0 {
		text = append(text, '[')
	} else {
		text = append(text, ',')
	}
	for i, arg := range row {
		if i == 0 {
			text = append(text, '[')
		} else {
			text = append(text, ',')
		}
		switch a := arg.(type) {
		case int:
			text = strconv.AppendInt(text, int64(a), 10)
		case int64:
			text = strconv.AppendInt(text, a, 10)
		case bool:
			text = append(text, digit(a))
		case string:
			text = append(hex.AppendEncode(append(text, '"'), []byte(a)), '"')
		default:
			panic(fmt.Sprintf("mysql: a value of type %T", arg))
		}
	}
	text = append(text, ']')
	*v = text
}

// valuesOf returns IDs as rows.
func valuesOf(ids []int64) (v values) {
	for _, id := range ids {
		v.add(id)
	}
	return v
}

// split returns the rows in parts of a size, if a part has more than one row.
func (v values) split(size int) (parts []values) {
	for len(v) > size {
		at := bytes.LastIndex(v[:size], []byte("],["))
		if at < 0 {
			if at = bytes.Index(v, []byte("],[")); at < 0 {
				break
			}
		}
		parts = append(parts, v[:at+1:at+1])
		v = append(values("["), v[at+2:]...)
	}
	return append(parts, v)
}

// split returns the parameters of the statements that take the place of one whose rows are more
// than a packet may hold, or nil. No statement relates a row of values to another.
func (b *Backend) split(args []any) (parts [][]any) {
	for i, arg := range args {
		v, ok := arg.(values)
		if !ok || len(v) <= b.room {
			continue
		}
		for _, some := range v.split(b.room) {
			part := slices.Clone(args)
			part[i] = some
			parts = append(parts, part)
		}
	}
	return parts
}

// join returns the SQL of the rows v: a parameter of the type values, with a column for each
// name. The name of a column with text ends with an asterisk; UNHEX decodes it.
//
// Statements join v with a table by STRAIGHT_JOIN and FORCE INDEX, so that the server looks
// up each row by its key. Left alone it may scan a table that it takes for small, and locks
// what it scans.
func join(columns ...string) string {
	var b strings.Builder
	b.WriteString("JSON_TABLE(?, '$[*]' COLUMNS (")
	for i, c := range columns {
		if i > 0 {
			b.WriteString(", ")
		}
		kind := "bigint"
		if name, ok := strings.CutSuffix(c, "*"); ok {
			c, kind = name, "varchar(510)"
		}
		fmt.Fprintf(&b, "%s %s PATH '$[%d]'", c, kind, i)
	}
	b.WriteString(")) v STRAIGHT_JOIN ")
	return b.String()
}

// An insert is the rows of an INSERT statement.
type insert struct {
	head, tail string // the statement before and after the rows
	tailArgs   []any  // numbers
	text       strings.Builder
	args       []any
	rows, size int // size is that of args as text
}

// add adds a row. The first error of a full statement is returned.
func (i *insert) add(t *tx, row ...any) error {
	size, texts := 0, 0
	for _, arg := range row {
		switch v := arg.(type) {
		case []byte:
			size += 2 * len(v) // escaped
		case string:
			texts += 2 * len(v)
		}
	}
	if i.rows >= maxRows || i.rows > 0 && i.text.Len()+texts+i.size+size > t.b.room {
		if err := i.flush(t); err != nil {
			return err
		}
	}
	if i.rows > 0 {
		i.text.WriteByte(',')
	}
	i.text.WriteByte('(')
	for n, arg := range row {
		if n > 0 {
			i.text.WriteByte(',')
		}
		text, rest := fill("?", []any{arg})
		i.text.WriteString(text)
		i.args = append(i.args, rest...)
	}
	i.text.WriteByte(')')
	i.rows++
	i.size += size
	return nil
}

// maxRows bounds the rows of an INSERT.
const maxRows = 1000

// flush runs the statement, if it has rows.
func (i *insert) flush(t *tx) error {
	if i.rows == 0 {
		return nil
	}
	tail, _ := fill(t.b.sql(i.tail), i.tailArgs)
	query := t.sql(i.head) + i.text.String() + tail
	err := t.runLater(query, i.args)
	i.text.Reset()
	i.args, i.rows, i.size = nil, 0, 0
	return err
}
