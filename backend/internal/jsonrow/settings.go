package jsonrow

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// Definer decodes the jobs of a worker, and the settings that [SettingsText] has encoded. It returns
// no definer for a worker that has not defined its settings.
func Definer(jobs, settings string) (d lifecycle.Definer, defined bool, err error) {
	if settings == "" {
		return d, false, nil
	}
	var names []string
	var all []backend.Settings
	if err := errors.Join(json.Unmarshal([]byte(jobs), &names), json.Unmarshal([]byte(settings), &all)); err != nil {
		return d, false, fmt.Errorf("%w: the settings of a worker: %w", backend.ErrCorrupt, err)
	}
	return lifecycle.NewDefiner(names, all), true, nil
}

// SettingsText encodes what a worker defines. The text is never empty.
func SettingsText(all []backend.Settings) string {
	some := []backend.Settings{}
	for _, s := range all {
		if s != (backend.Settings{Name: s.Name}) {
			some = append(some, s)
		}
	}
	return encode(some)
}

// An Overriding is an override, and the settings that apply without it.
type Overriding struct {
	Override backend.Override
	Defined  backend.Settings
}

// ReadOverriding decodes an override. An empty text is none.
func ReadOverriding(text string) (*Overriding, error) {
	if text == "" {
		return nil, nil
	}
	var o Overriding
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return nil, fmt.Errorf("%w: the override of a name: %w", backend.ErrCorrupt, err)
	}
	o.Override.At = o.Override.At.UTC()
	return &o, nil
}

// Text encodes o for [ReadOverriding]. Without an override the text is empty.
func (o Overriding) Text() string {
	if o.Override.Zero() {
		return ""
	}
	return encode(o)
}

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, numbers and times encode
	}
	return string(text)
}
