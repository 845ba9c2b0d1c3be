package plainjobs

import (
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// Decrypt returns the job with its payload, result, errors and logs decrypted by Options.Codec, for
// example a job that [Queue.Get] returned. Errors that are stored in clear stay as they are.
func (q *Queue) Decrypt(job Info) (Info, error) {
	e := q.engine()
	payload, err := e.Decrypt(engine.KindPayload, job.Name, job.Payload)
	if err != nil {
		return job, fmt.Errorf("plainjobs: payload of job %s #%d: %w", job.Name, job.ID, err)
	}
	result, err := e.Decrypt(engine.KindResult, job.Name, job.Result)
	if err != nil {
		return job, fmt.Errorf("plainjobs: result of job %s #%d: %w", job.Name, job.ID, err)
	}
	job.Payload, job.Result, job.Errors = payload, result, slices.Clone(job.Errors)
	for i := range job.Errors {
		failed := &job.Errors[i]
		failed.Error = e.DecryptText(engine.KindError, job.Name, failed.Error)
		failed.Stack = e.DecryptText(engine.KindError, job.Name, failed.Stack)
	}
	job.Logs = slices.Clone(job.Logs)
	for i := range job.Logs {
		job.Logs[i].Text = e.DecryptText(engine.KindLog, job.Name, job.Logs[i].Text)
	}
	return job, nil
}
