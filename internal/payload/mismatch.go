package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// maxMismatches is the maximum number of mismatches reported for one job.
const maxMismatches = 100

// Mismatches returns the reasons why a payload does not decode into a job's type, each
// once. Package json reports only the first one, so Mismatches also decodes each value
// of the payload on its own.
func Mismatches(d *engine.Definition, data []byte) (all []string) {
	first, _ := mismatch(d, data)
	if first == "" {
		return nil
	}
	each(parsed(data), nil, func(path []step, leaf any) bool {
		what, known := mismatchAlone(d, path, leaf)
		if what != "" && !known {
			// A type with its own UnmarshalJSON may need the values next to this one.
			// Then it does not accept null in this place either.
			nothing, _ := mismatchAlone(d, path, nil)
			known = nothing == ""
		}
		if what = within(what, path); known && !slices.Contains(all, what) {
			all = append(all, what)
		}
		return len(all) < maxMismatches
	})
	if len(all) == 0 {
		return []string{first}
	}
	return all
}

// parsed returns a payload as values of package json, or nil if it is not JSON.
func parsed(data []byte) (value any) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber() // a float64 cannot hold every int64
	if dec.Decode(&value) != nil {
		return nil
	}
	return value
}

// mismatchAlone returns why a value at a path, without any other value, does not decode.
func mismatchAlone(d *engine.Definition, path []step, value any) (what string, known bool) {
	data, err := json.Marshal(wrap(path, value))
	if err != nil {
		return "", false
	}
	return mismatch(d, data)
}

// mismatch returns the first reason why a payload does not decode. Known reports
// whether the reason is an unknown field or a value of another kind. A type's own
// UnmarshalJSON may panic.
func mismatch(d *engine.Definition, data []byte) (what string, known bool) {
	defer func() {
		if v := recover(); v != nil {
			what, known = fmt.Sprintf("decoding panicked: %v", v), false
		}
	}()
	_, err := Decode(d, data)
	if err == nil {
		return "", false
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		kind, _, _ := strings.Cut(e.Value, " ") // without the value: it differs from job to job
		if e.Field == "" {
			return fmt.Sprintf("cannot decode %s into %v", kind, e.Type), true
		}
		return fmt.Sprintf("field %s: cannot decode %s into %v", e.Field, kind, e.Type), true
	}
	text := strings.TrimPrefix(err.Error(), "json: ")
	return text, strings.HasPrefix(text, unknownField)
}

const unknownField = "unknown field "

// within adds the enclosing fields to the message about an unknown field.
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

// A step leads into a field of an object, or into a list.
type step struct {
	field string
	list  bool
}

// each calls f with each leaf value and its path, ordered by field name, until f returns
// false.
func each(value any, path []step, f func(path []step, leaf any) bool) bool {
	switch v := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
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

// wrap returns a document whose only leaf is value, at path.
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
