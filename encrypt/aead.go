package encrypt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// An AEAD is a [Codec] with AES-256-GCM. It is safe for concurrent use.
//
// Encrypted data have the ID of the key and 30 bytes more than the data. [Text] is how a queue shows
// them. The nonce is random, so one key may encrypt at most 2³² times: rotate it before that. The
// name is authenticated and not stored.
type AEAD struct {
	current string
	keys    map[string]cipher.AEAD
	plain   bool
}

// Options of an [AEAD]. The zero value is the default.
type Options struct {
	// Plain also decrypts data that are not encrypted. It is for the time in which a queue begins to
	// use a codec: until the jobs of before have run or are encrypted by Queue.Rekey, and every
	// program that pushes has the codec. Without it such jobs wait, so that write access
	// to the database is not enough to add a job.
	Plain bool
}

// New returns an AEAD that encrypts with the current key and decrypts with all keys. A key has 32
// random bytes. Its ID, which is stored in clear, has 1 to 64 of the characters a-z, A-Z, 0-9,
// ".", "_" and "-". nil options are the defaults.
func New(current string, keys map[string][]byte, opts *Options) (*AEAD, error) {
	a := &AEAD{current: current, keys: make(map[string]cipher.AEAD, len(keys))}
	if opts != nil {
		a.plain = opts.Plain
	}
	for id, key := range keys {
		if !validID(id) {
			return nil, fmt.Errorf("encrypt: key ID %q: use 1 to 64 of the characters a-z A-Z 0-9 . _ -", id)
		}
		if len(key) != 32 {
			return nil, fmt.Errorf("encrypt: key %q has %d bytes: use 32 random bytes", id, len(key))
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("encrypt: key %q: %w", id, err)
		}
		if a.keys[id], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return nil, fmt.Errorf("encrypt: key %q: %w", id, err)
		}
	}
	if a.keys[current] == nil {
		return nil, fmt.Errorf("encrypt: the current key %q is not among the keys %q", current, a.ids())
	}
	return a, nil
}

func validID(id string) bool {
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("._-", c) >= 0:
		default:
			return false
		}
	}
	return id != "" && len(id) <= 64
}

func (a *AEAD) ids() []string { return slices.Sorted(maps.Keys(a.keys)) }

// Encrypt implements [Codec].
func (a *AEAD) Encrypt(name string, data []byte) ([]byte, error) {
	key := a.keys[a.current]
	out := make([]byte, 0, 2+len(a.current)+len(data)+key.Overhead())
	out = append(out, version, byte(len(a.current)))
	out = append(out, a.current...)
	return key.Seal(out, nil, data, []byte(name)), nil
}

// Decrypt implements [Codec], for what [Text] returns too. The error of a key that is missing, and
// without [Options].Plain that of data that are not encrypted, matches [ErrUnavailable].
func (a *AEAD) Decrypt(name string, encrypted []byte) ([]byte, error) {
	id, raw, ok := split(encrypted)
	if !ok {
		if a.plain {
			return encrypted, nil
		}
		return nil, fmt.Errorf("%w: it is not encrypted, and this program decrypts encrypted data only: encrypt it with the command rekey, or set Plain in encrypt.Options", ErrUnavailable)
	}
	key := a.keys[string(id)]
	if key == nil {
		return nil, fmt.Errorf("%w: it is encrypted with key %q, and this program has %q: add the key", ErrUnavailable, id, a.ids())
	}
	if len(raw) < key.Overhead() {
		return nil, fmt.Errorf("it is encrypted with key %q and damaged", id)
	}
	data, err := key.Open(make([]byte, 0, len(raw)-key.Overhead()), nil, raw, []byte(name))
	if err != nil {
		return nil, fmt.Errorf("it is encrypted with key %q and does not decrypt: it was changed, belongs to another name or kind of data, or the key with this ID has other bytes here", id)
	}
	return data, nil
}

// Current reports whether data are encrypted with the current key.
func (a *AEAD) Current(encrypted []byte) bool {
	id, _, ok := split(encrypted)
	return ok && string(id) == a.current
}

// KeyID returns the ID of the key with which an [AEAD] has encrypted data, and false if none has.
// It needs no key.
func KeyID(data []byte) (id string, encrypted bool) {
	key, _, encrypted := split(data)
	return string(key), encrypted
}

// version begins encrypted data, and no JSON. The length of the key's ID, the ID, the nonce, the
// ciphertext and the tag follow.
const version = 1

// prefix begins encrypted data as text. The key's ID, a colon, and the rest in base64 follow.
const prefix = `"encrypted:1:`

var encoding = base64.RawURLEncoding

// Text returns data that an [AEAD] has encrypted as a JSON string, for people and for what takes only
// text, and other data as they are.
func Text(data []byte) []byte {
	if len(data) == 0 || data[0] != version {
		return data
	}
	id, raw, ok := split(data)
	if !ok {
		return data
	}
	text := make([]byte, 0, len(prefix)+len(id)+2+encoding.EncodedLen(len(raw)))
	text = append(append(append(text, prefix...), id...), ':')
	return append(encoding.AppendEncode(text, raw), '"')
}

// split returns the parts of encrypted data.
func split(data []byte) (id, raw []byte, ok bool) {
	if len(data) > 1 && data[0] == version {
		n := 2 + int(data[1])
		if len(data) < n || !validID(string(data[2:n])) {
			return nil, nil, false
		}
		return data[2:n], data[n:], true
	}
	rest, ok := bytes.CutPrefix(data, []byte(prefix))
	if !ok {
		return nil, nil, false
	}
	id, text, ok := bytes.Cut(rest, []byte(":"))
	if !ok || !validID(string(id)) {
		return nil, nil, false
	}
	text, _ = bytes.CutSuffix(text, []byte(`"`))
	raw, err := encoding.AppendDecode(nil, text)
	if err != nil {
		raw = nil
	}
	return id, raw, true
}

var _ Codec = (*AEAD)(nil)
