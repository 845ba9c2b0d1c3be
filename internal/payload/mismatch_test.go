package payload

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/internal/engine"
)

type address struct {
	Street string
	Number int64
}

type parcel struct {
	To    string
	Home  address
	Items []address
	Due   time.Time
	Strict
}

// Strict requires both values of its pair.
type Strict struct{ Pair pair }

type pair struct{}

func (p *pair) UnmarshalJSON(data []byte) error {
	var raw struct{ A, B *string }
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	switch {
	case string(data) == "null":
	case raw.A == nil || raw.B == nil:
		return errors.New("a pair has two")
	case *raw.A == "bang":
		panic("bang")
	}
	return nil
}

// Every mismatch is reported, at any depth.
func TestMismatches(t *testing.T) {
	d := &engine.Definition{Name: "order", Type: reflect.TypeFor[parcel]()}
	for data, want := range map[string][]string{
		`{}`: nil,
		`{"to":"x","home":{"number":9007199254740993},"items":[{},{}],"due":"2026-01-02T15:04:05Z","pair":{"a":"1","b":"2"}}`: nil,
		`{"to":5,"cc":"x","bcc":{"deep":1}}`: {`field To: cannot decode number into string`, `unknown field "bcc"`, `unknown field "cc"`},
		`{"home":{"street":1,"number":"x","zip":2},"items":[{"zip":1},{"number":1.5}]}`: {
			`field Home.Number: cannot decode string into int64`, `field Home.Street: cannot decode number into string`, `unknown field "zip" in field home`,
			`field Items.Number: cannot decode number into int64`, `unknown field "zip" in field items`,
		},
		`{"due":"tomorrow","to":1}`:          {`parsing time "tomorrow" as "2006-01-02T15:04:05Z07:00": cannot parse "tomorrow" as "2006"`, `field To: cannot decode number into string`},
		`{"pair":{"a":"1"},"to":1}`:          {`field To: cannot decode number into string`},
		`{"pair":{"a":"1"}}`:                 {`a pair has two`},
		`{"pair":{"a":"bang","b":""},"x":1}`: {`unknown field "x"`},
		`[1]`:                                {`cannot decode array into payload.parcel`},
		`{"to":"x"`:                          {`the payload is not valid JSON: unexpected end`},
		`{"to":"x"} {}`:                      {`the payload has more than one JSON value`},
	} {
		got := Mismatches(d, []byte(data))
		slices.Sort(want)
		if !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Errorf("%s: %q, want %q", data, got, want)
		}
	}
}
