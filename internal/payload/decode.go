// Package payload checks payloads against the types of jobs, more strictly than a worker
// does.
package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// Decode decodes a payload into a job's type. It is stricter than a worker: an
// unknown field is an error.
func Decode(d *engine.Definition, data []byte) (any, error) {
	v := reflect.New(d.Type)
	if data == nil {
		data = []byte("null")
		if d.Type.Kind() != reflect.Struct || d.Type.NumField() > 0 {
			return nil, errors.New("the payload is missing")
		}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v.Interface()); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the payload is not valid JSON: unexpected end")
		}
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the payload has more than one JSON value")
	}
	return v.Elem().Interface(), nil
}

// Example returns a payload for a job: the zero value of its type.
func Example(d *engine.Definition) string {
	switch d.Type.Kind() {
	case reflect.Slice:
		return "[]"
	case reflect.Map:
		return "{}"
	}
	b, err := json.Marshal(reflect.Zero(d.Type).Interface())
	if err != nil {
		return "JSON"
	}
	return string(b)
}
