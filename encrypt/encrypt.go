// Package encrypt encrypts what a queue stores. Set the option Codec of a queue to the
// [AEAD] that [New] returns, or to a [Codec] of your own:
//
//	codec, err := encrypt.New("2026-07", map[string][]byte{"2026-07": key}, nil)
//	queue := plainjobs.New(store, &plainjobs.Options{Codec: codec})
//
// To rotate keys, first give every program the new key, then make it current. Programs
// encrypt with the current key and decrypt with all of them, so jobs that wait under the old key
// still run. Queue.Rekey, or the command rekey, encrypts stored jobs again under the current
// key.
package encrypt

import "errors"

// A Codec encrypts data before a queue stores them, and decrypts what it has encrypted. Its methods
// are called by several goroutines at once and must not keep or change their arguments.
//
// name says what the data are. Data that were encrypted for one name should not decrypt for another.
// The name of a payload is that under which its job is stored. Other data have a word before it:
//
//   - "result NAME": the result of a job
//   - "step NAME": the result of a step
//   - "error NAME": the text or the stack of an error, see Options.EncryptErrors
//   - "log NAME": the log of a run, likewise
//   - "signal NAME": the value of the signal NAME
//
// A Codec may have a method Current(encrypted []byte) bool, which reports that data need not be
// encrypted again. Without it, Queue.Rekey encrypts all jobs again.
type Codec interface {
	// Encrypt returns the bytes to store. They should be valid JSON, unless they are those of an
	// [AEAD], which queues show as [Text]. An error fails the call that would store the data.
	Encrypt(name string, data []byte) (encrypted []byte, err error)
	// Decrypt returns the data. If the error matches [ErrUnavailable], the job waits and uses no
	// attempt. With any other error its run fails, and is retried as after any failure.
	Decrypt(name string, encrypted []byte) (data []byte, err error)
}

// ErrUnavailable is matched by an error of [Codec].Decrypt for data that cannot be decrypted here
// and now: the key is missing, or its server does not answer.
var ErrUnavailable = errors.New("waits for a key")
