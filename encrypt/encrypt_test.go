package encrypt_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/encrypt"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func open(t *testing.T, current string, keys map[string][]byte, opts *encrypt.Options) *encrypt.AEAD {
	t.Helper()
	a, err := encrypt.New(current, keys, opts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The old key decrypts what it has encrypted while the new one encrypts.
func ExampleNew() {
	before, err := encrypt.New("2026-06", map[string][]byte{"2026-06": key(1)}, nil)
	if err != nil {
		log.Fatal(err)
	}
	encrypted, err := before.Encrypt("welcome", []byte(`{"email":"ada@example.com"}`))
	if err != nil {
		log.Fatal(err)
	}
	after, err := encrypt.New("2026-07", map[string][]byte{"2026-06": key(1), "2026-07": key(2)}, nil)
	if err != nil {
		log.Fatal(err)
	}
	data, err := after.Decrypt("welcome", encrypted)
	fmt.Println(string(data), err, after.Current(encrypted))
	id, _ := encrypt.KeyID(encrypted)
	fmt.Println(id)
	// Output:
	// {"email":"ada@example.com"} <nil> false
	// 2026-06
}

func TestRoundTrip(t *testing.T) {
	a := open(t, "k", map[string][]byte{"k": key(1)}, nil)
	seen := map[string]bool{}
	for _, data := range []string{"", "null", `{"a":1}`, strings.Repeat("ü\x00", 100_000)} {
		for range 2 {
			encrypted, err := a.Encrypt("job", []byte(data))
			if err != nil {
				t.Fatal(err)
			}
			text := encrypt.Text(encrypted)
			if !json.Valid(text) || seen[string(encrypted)] || !a.Current(encrypted) || !a.Current(text) || json.Valid(encrypted) {
				t.Errorf("Encrypt returned %.80q", encrypted)
			}
			seen[string(encrypted)] = true
			for _, form := range [][]byte{encrypted, text} {
				if got, err := a.Decrypt("job", form); err != nil || string(got) != data {
					t.Errorf("Decrypt returned %.80q, %v", got, err)
				}
			}
		}
	}
}

// What does not decrypt is an error that says why, and only a key that is missing makes a job wait.
func TestDoesNotDecrypt(t *testing.T) {
	a := open(t, "k", map[string][]byte{"k": key(1)}, nil)
	encrypted, err := a.Encrypt("job", []byte(`{"card":"4242"}`))
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(encrypted)
	changed[len(changed)-5] ^= 1
	other := open(t, "x", map[string][]byte{"x": key(2)}, nil)
	wrong := open(t, "k", map[string][]byte{"k": key(2)}, nil)
	for _, tt := range []struct {
		codec *encrypt.AEAD
		name  string
		data  []byte
		want  string
		waits bool
	}{
		{other, "job", encrypted, `encrypted with key "k", and this program has ["x"]`, true},
		{a, "job", []byte(`{"card":"4242"}`), "not encrypted", true},
		{a, "job", nil, "not encrypted", true},
		{wrong, "job", encrypted, "the key with this ID has other bytes", false},
		{a, "other", encrypted, "belongs to another name", false},
		{a, "job", changed, "does not decrypt", false},
		{a, "job", encrypted[:len(encrypted)-10], "does not decrypt", false},
		{a, "job", encrypted[:20], "damaged", false},
		{a, "job", encrypted[:2], "not encrypted", true},
		{a, "job", []byte{1}, "not encrypted", true},
		{a, "job", []byte{1, 255, 1}, "not encrypted", true},
		{other, "job", encrypt.Text(encrypted), `encrypted with key "k"`, true},
		{a, "job", []byte(`"encrypted:1:k:AAAA"`), "damaged", false},
		{a, "job", []byte(`"encrypted:1:k:!!"`), "damaged", false},
		{a, "job", []byte(`"encrypted:1:k:"`), "damaged", false},
		{a, "job", []byte(`"encrypted:1:k`), "not encrypted", true},
		{a, "job", []byte(`"encrypted:2:k:AAAA"`), "not encrypted", true},
	} {
		data, err := tt.codec.Decrypt(tt.name, tt.data)
		if err == nil || data != nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, encrypt.ErrUnavailable) != tt.waits {
			t.Errorf("Decrypt of %.40q for %s = %q, %v; want an error with %q, waits %v", tt.data, tt.name, data, err, tt.want, tt.waits)
		}
		if err != nil && strings.Contains(err.Error(), "4242") {
			t.Errorf("the error has data: %v", err)
		}
	}
}

func TestPlain(t *testing.T) {
	a := open(t, "k", map[string][]byte{"k": key(1)}, &encrypt.Options{Plain: true})
	if data, err := a.Decrypt("job", []byte(`{"a":1}`)); err != nil || string(data) != `{"a":1}` {
		t.Errorf("Decrypt = %q, %v", data, err)
	}
	if a.Current([]byte(`{"a":1}`)) {
		t.Error("data in clear are current")
	}
	if id, encrypted := encrypt.KeyID([]byte(`"encrypted"`)); id != "" || encrypted {
		t.Errorf("KeyID = %q, %v", id, encrypted)
	}
}

func TestBadKeys(t *testing.T) {
	for _, tt := range []struct {
		current string
		keys    map[string][]byte
		want    string
	}{
		{"", nil, `the current key "" is not among the keys []`},
		{"b", map[string][]byte{"a": key(1)}, `the current key "b" is not among the keys ["a"]`},
		{"a", map[string][]byte{"a": key(1)[:16]}, `key "a" has 16 bytes`},
		{"a:b", map[string][]byte{"a:b": key(1)}, `key ID "a:b"`},
		{"", map[string][]byte{"": key(1)}, `key ID ""`},
		{strings.Repeat("a", 65), map[string][]byte{strings.Repeat("a", 65): key(1)}, "1 to 64"},
	} {
		if _, err := encrypt.New(tt.current, tt.keys, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New(%q, …) = %v, want %s", tt.current, err, tt.want)
		}
	}
}

// No bytes make Decrypt panic, and none open but what was encrypted.
func FuzzDecrypt(f *testing.F) {
	a, err := encrypt.New("k", map[string][]byte{"k": key(1)}, nil)
	if err != nil {
		f.Fatal(err)
	}
	encrypted, err := a.Encrypt("job", []byte("1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`"encrypted:1:k:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"`))
	f.Add([]byte(`"encrypted:1:k`))
	f.Add(encrypted)
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := a.Decrypt("job", data)
		if err == nil && string(got) != "1" {
			t.Errorf("Decrypt(%q) = %q", data, got)
		}
	})
}
