// Package jsonrow decodes what a SQL store reads with a job from other tables, as JSON, so that
// one statement reads each job as of one moment; what the row of a worker has of its stuck runs and
// settings; and overrides.
package jsonrow

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// decode decodes text, which is of a job's what, into v.
func decode(text, what string, v any) error {
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("%w: the %s of a job: %w", backend.ErrCorrupt, what, err)
	}
	return nil
}

// Errors decodes the errors of a job.
func Errors(text string) (all []backend.RunError, err error) {
	var rows []struct {
		Attempt      int
		At           int64
		Error, Stack string
		Took         int64
		Worker       string
	}
	if err := decode(text, "errors", &rows); err != nil {
		return nil, err
	}
	for _, r := range rows {
		all = append(all, backend.RunError{Attempt: r.Attempt, At: lifecycle.Time(r.At), Error: r.Error, Stack: r.Stack,
			Took: time.Duration(r.Took) * time.Microsecond, Worker: r.Worker})
	}
	return all, nil
}

// Steps decodes the steps of a job, whose results are hexadecimal. An empty text is none.
func Steps(text string) (all []backend.Step, err error) {
	if text == "" {
		return nil, nil
	}
	var rows []struct {
		Name   string
		At     int64
		Result string
	}
	if err := decode(text, "steps", &rows); err != nil {
		return nil, err
	}
	for _, r := range rows {
		result, err := hex.DecodeString(r.Result)
		if err != nil {
			return nil, fmt.Errorf("%w: the steps of a job: %w", backend.ErrCorrupt, err)
		}
		all = append(all, backend.Step{Name: r.Name, At: lifecycle.Time(r.At), Result: result})
	}
	return all, nil
}

// Wait decodes the signal that a job waits for. An empty text is none.
func Wait(text string) (key backend.SignalKey, err error) {
	if text == "" {
		return key, nil
	}
	err = decode(text, "signal", &key)
	return key, err
}

// Stuck decodes the stuck runs of a worker. An empty text is none.
func Stuck(text string) (all []backend.Stuck, err error) {
	if text == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("%w: the stuck runs of a worker: %w", backend.ErrCorrupt, err)
	}
	return all, nil
}

// StuckText encodes stuck runs for [Stuck].
func StuckText(all []backend.Stuck) string {
	if len(all) == 0 {
		return ""
	}
	clean := make([]backend.Stuck, len(all))
	for i, s := range all {
		clean[i] = backend.Stuck{ID: s.ID, Name: s.Name, Stack: backend.CleanError(s.Stack)}
	}
	text, err := json.Marshal(clean)
	if err != nil {
		panic(err) // strings and numbers encode
	}
	return string(text)
}
