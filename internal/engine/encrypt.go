package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/encrypt"
)

// A Kind of data is a part of the name for which the codec encrypts them, so that data of one kind do
// not decrypt as another.
type Kind uint8

// All kinds of data.
const (
	KindPayload Kind = iota // of a job or a stored schedule
	KindResult
	KindStep   // the result of a step
	KindError  // the text or the stack of an error
	KindLog    // the log of a run
	KindSignal // the value of a signal
)

// kinds begin the codec's names. The name of the job or signal follows. No job's name has a space.
var kinds = [...]string{"", "result ", "step ", "error ", "log ", "signal "}

// Encrypt returns data of the job or signal with a name as they are stored. The codec is the user's
// code.
func (q *Queue) Encrypt(kind Kind, name string, data []byte) (encrypted []byte, err error) {
	if q.Codec == nil || data == nil {
		return data, nil
	}
	defer func() {
		if v := recover(); v != nil {
			encrypted, err = nil, fmt.Errorf("the codec panicked while it encrypted: %T", v)
		}
	}()
	if encrypted, err = q.Codec.Encrypt(kinds[kind]+name, data); err != nil {
		return nil, fmt.Errorf("the codec does not encrypt it: %w", err)
	}
	return encrypted, nil
}

// EncryptJob encrypts the payload of a job that is to be pushed.
func (q *Queue) EncryptJob(job *backend.NewJob) (err error) {
	if q.Codec == nil {
		return nil
	}
	if job.Payload, err = q.Encrypt(KindPayload, job.Name, job.Payload); err != nil {
		return fmt.Errorf("payload of job %s: %w", job.Name, err)
	}
	return nil
}

// Make returns the job that a tick of a schedule pushes, encrypted.
func (q *Queue) Make(s *Schedule, tick time.Time) (backend.NewJob, error) {
	job, err := s.Make(tick)
	if err == nil {
		err = q.EncryptJob(&job)
	}
	return job, err
}

// Decrypt returns stored data as they were before Encrypt.
func (q *Queue) Decrypt(kind Kind, name string, encrypted []byte) (data []byte, err error) {
	if q.Codec == nil || len(encrypted) == 0 {
		return encrypted, nil
	}
	defer func() {
		if v := recover(); v != nil {
			data, err = nil, fmt.Errorf("the codec panicked while it decrypted: %T", v)
		}
	}()
	data, err = q.Codec.Decrypt(kinds[kind]+name, encrypted)
	if errors.Is(err, encrypt.ErrUnavailable) {
		err = &keyError{err}
	}
	return data, err
}

// A keyError is one of the codec's that matches encrypt.ErrUnavailable. Its text has no data, which
// that of a handler's error may have.
type keyError struct{ error }

func (e *keyError) Unwrap() error { return e.error }

// KeyText returns why the codec could not decrypt, if err, the error of a run, says that, or an
// empty string.
func KeyText(err error) (text string) {
	defer func() {
		if recover() != nil { // the As and Unwrap of an error are the user's code
			text = ""
		}
	}()
	var key *keyError
	if errors.As(err, &key) {
		text = backend.CleanError(key.Error())
	}
	return text
}

// DecryptText returns a text of a job as it was before it was encrypted. A text that does not decrypt was
// stored in clear.
func (q *Queue) DecryptText(kind Kind, name, text string) string {
	if data, err := q.Decrypt(kind, name, []byte(text)); err == nil {
		return string(data)
	}
	return text
}

// decrypting returns run for payloads as they are stored.
func (q *Queue) decrypting(run Run) Run {
	return func(ctx context.Context, payload []byte) error {
		i := InfoOf(ctx)
		if BatchOf(ctx) != nil { // each payload on its own
			return run(ctx, payload)
		}
		data, err := i.Decrypt()
		if err != nil {
			return err
		}
		return run(ctx, data)
	}
}

// EncryptFailure encrypts the texts of a failure of a run that ended with err, if the queue encrypts
// errors. Only why the codec waits for a key stays in clear.
func (q *Queue) EncryptFailure(name string, err error, f *backend.Failure) {
	if !q.EncryptErrors || q.Codec == nil {
		return
	}
	if f.Ending == backend.EndSnooze && f.Error != "" {
		if f.Error = KeyText(err); f.Error != "" {
			return
		}
		f.Error = text(err)
	}
	f.Error, f.Stack = q.encryptText(KindError, name, f.Error), q.encryptText(KindError, name, f.Stack)
}

// maxText is the length of a text before it is encrypted, so that it fits afterwards.
const maxText = 44 << 10

// encryptText returns a text of a job as it is stored.
func (q *Queue) encryptText(kind Kind, name, text string) string {
	if text == "" {
		return ""
	}
	text = backend.CleanError(text)
	if len(text) > maxText {
		text = backend.CleanError(text[:maxText])
	}
	encrypted, err := q.Encrypt(kind, name, []byte(text))
	encrypted = encrypt.Text(encrypted)
	switch {
	case err != nil:
		return "not stored, because the codec did not encrypt it"
	case !utf8.Valid(encrypted) || backend.CleanError(string(encrypted)) != string(encrypted):
		return "not stored, because encrypted it is no text of at most 64 KiB"
	}
	return string(encrypted)
}

// EncryptLog returns the log of a run as it is stored.
func (q *Queue) EncryptLog(name, text string) string {
	if !q.EncryptErrors || q.Codec == nil {
		return text
	}
	if len(text) > maxText {
		text = text[len(text)-maxText:]
		if _, lines, ok := strings.Cut(text, "\n"); ok {
			text = lines
		}
	}
	return q.encryptText(KindLog, name, text)
}

// unavailable reports whether err, the error of a run, says that data cannot be decrypted here now.
func unavailable(err error) (is bool) {
	defer func() {
		if recover() != nil { // the Is and Unwrap of an error are the user's code
			is = false
		}
	}()
	return errors.Is(err, encrypt.ErrUnavailable)
}
