package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// maxMisfits bounds how many misfits of one job are told.
const maxMisfits = 100

// mismatches returns why a job's type does not take data as they are: nothing, or
// each reason once. Package json tells the first reason only, so that each value
// in the data is tried by itself, without those next to it.
func mismatches(d *engine.Definition, data []byte) (all []string) {
	first, _ := mismatch(d, data)
	if first == "" {
		return nil
	}
	each(parsed(data), nil, func(path []step, leaf any) bool {
		what, known := misfitAlone(d, path, leaf)
		if what != "" && !known {
			// A type that decodes by itself may want what is next to this value: then
			// it does not take nothing in its place either.
			nothing, _ := misfitAlone(d, path, nil)
			known = nothing == ""
		}
		if what = within(what, path); known && !slices.Contains(all, what) {
			all = append(all, what)
		}
		return len(all) < maxMisfits
	})
	if len(all) == 0 {
		return []string{first}
	}
	return all
}

// parsed returns data as values of package json, or nil.
func parsed(data []byte) (value any) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber() // a float64 does not hold all that an int64 does
	if dec.Decode(&value) != nil {
		return nil
	}
	return value
}

// misfitAlone returns why a type does not take a value at the end of a path.
func misfitAlone(d *engine.Definition, path []step, value any) (what string, known bool) {
	data, err := json.Marshal(wrap(path, value))
	if err != nil {
		return "", false
	}
	return mismatch(d, data)
}

// mismatch returns the first reason why a type does not take data. Known is set if
// it is a field that the type does not have, or a value of another kind. Types
// decode by code of the user's, which may panic.
func mismatch(d *engine.Definition, data []byte) (what string, known bool) {
	defer func() {
		if v := recover(); v != nil {
			what, known = fmt.Sprintf("decoding panics: %v", v), false
		}
	}()
	_, err := decode(d, data)
	if err == nil {
		return "", false
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		kind, _, _ := strings.Cut(e.Value, " ") // without the value: it differs from job to job
		if e.Field == "" {
			return fmt.Sprintf("a %s is no %v", kind, e.Type), true
		}
		return fmt.Sprintf("field %s: a %s is no %v", e.Field, kind, e.Type), true
	}
	text := strings.TrimPrefix(err.Error(), "json: ")
	return text, strings.HasPrefix(text, unknownField)
}

const unknownField = "unknown field "

// within adds to an unknown field the fields that it is in.
func within(what string, path []step) string {
	name, unknown := strings.CutPrefix(what, unknownField)
	if !unknown {
		return what
	}
	var outer []string
	for _, s := range path {
		if fmt.Sprintf("%q", s.field) == name {
			break
		}
		if s.field != "" {
			outer = append(outer, s.field)
		}
	}
	if len(outer) == 0 {
		return what
	}
	return fmt.Sprintf("%s in field %s", what, strings.Join(outer, "."))
}

// A step leads into a field of an object, or into a list if it has no name.
type step struct {
	field string
	list  bool
}

// each calls f with the values that have no values in them, by name, until f
// returns false.
func each(value any, path []step, f func(path []step, leaf any) bool) bool {
	switch v := value.(type) {
	case map[string]any:
		for _, name := range keys(v) {
			if !each(v[name], append(path[:len(path):len(path)], step{field: name}), f) {
				return false
			}
		}
		if len(v) > 0 {
			return true
		}
	case []any:
		for _, element := range v {
			if !each(element, append(path[:len(path):len(path)], step{list: true}), f) {
				return false
			}
		}
		if len(v) > 0 {
			return true
		}
	}
	return f(path, value)
}

// wrap returns a value at the end of a path that has nothing else.
func wrap(path []step, value any) any {
	for _, s := range slices.Backward(path) {
		if s.list {
			value = []any{value}
		} else {
			value = map[string]any{s.field: value}
		}
	}
	return value
}
