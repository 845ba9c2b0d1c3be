package transfer

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/plainjobs/plainjobs/backend"
)

// maxLine limits a line. A payload may be large, and so may a file that is no export.
const maxLine = 1 << 30

// A lineReader reads lines that end with their checksum.
type lineReader struct {
	r      *bufio.Reader
	hash   hash.Hash // of all lines before
	sum    string    // of the lines before the one read last
	number int       // of the line read last, from 1
	length int
}

func (l *lineReader) fault(format string, args ...any) error {
	return &lineError{l.number, fmt.Errorf(format, args...)}
}

// A lineError is an error in a line.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string        { return fmt.Sprintf("line %d: %v", e.line, e.err) }
func (e *lineError) Unwrap() error        { return e.err }
func (e *lineError) Is(target error) bool { return target == backend.ErrInvalid }

// next reads a line.
func (l *lineReader) next() (*line, error) {
	l.number++
	var text []byte
	for {
		part, err := l.r.ReadSlice('\n')
		text = append(text, part...)
		if err == nil {
			break
		}
		if len(text) > maxLine {
			return nil, l.fault("it is longer than %d bytes", maxLine)
		}
		if errors.Is(err, io.EOF) {
			if len(text) == 0 {
				return nil, l.fault("it is missing: the export was cut short before its end")
			}
			return nil, l.fault("it has no end: the export was cut short")
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("line %d: %w", l.number, err) // from the reader
		}
	}
	l.length, l.sum = len(text), hex.EncodeToString(l.hash.Sum(nil))
	l.hash.Write(text)
	text = bytes.TrimSuffix(text, []byte("\n"))
	if len(text) < sumLength {
		return nil, l.fault("it is too short")
	}
	body, sum := text[:len(text)-sumLength], text[len(text)-sumLength:]
	if string(sum) != fmt.Sprintf(sumFormat, crc32.Checksum(body, castagnoli)) {
		return nil, l.fault("its checksum is another: it was damaged, or changed, or this is no export of plainjobs")
	}
	d := json.NewDecoder(io.MultiReader(bytes.NewReader(body), bytes.NewReader([]byte("}"))))
	d.DisallowUnknownFields()
	var decoded line
	if err := d.Decode(&decoded); err != nil {
		return nil, l.fault("%w", err)
	}
	return &decoded, nil
}

// over returns an error if there is more after the last line.
func (l *lineReader) over() error {
	l.number++
	if _, err := l.r.ReadByte(); !errors.Is(err, io.EOF) {
		return l.fault("it comes after the end")
	}
	return nil
}
