package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// decode returns data as a job's handler gets them, and is stricter than a run
// is: a field that the type does not have is an error.
func decode(d *engine.Definition, data []byte) (any, error) {
	v := reflect.New(d.Type)
	if data == nil {
		data = []byte("null")
		if d.Type.Kind() != reflect.Struct || d.Type.NumField() > 0 {
			return nil, errors.New("the data are missing")
		}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v.Interface()); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the data are not JSON: they end too soon")
		}
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one value")
	}
	return v.Elem().Interface(), nil
}

// example returns data of a job's type, all zero.
func example(d *engine.Definition) string {
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
