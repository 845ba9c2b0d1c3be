package plainjobs_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A text comes back as JSON keeps it. A text over the bound is refused, and nothing is
// stored.
func FuzzPerform(f *testing.F) {
	f.Add("", 2)
	f.Add("text", 6)
	f.Add("<&>\u2028\x00", 100)
	f.Add("\xff\xfe", 8)
	f.Add(strings.Repeat("x", 100), 101)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		if limit <= 0 {
			return // New panics, see TestProgrammerErrorsPanic
		}
		b := memory.New(nil)
		q := plainjobs.New(b, &plainjobs.Options{MaxPayload: limit})
		defer q.Close()
		encoded, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		id, err := q.Perform(t.Context(), anyJob.With(text))
		if fits := len(encoded) <= limit; (err == nil) != fits {
			t.Fatalf("%d bytes with a bound of %d: %v", len(encoded), limit, err)
		}
		if err != nil {
			if counts, err := b.Count(t.Context()); err != nil || len(counts) > 0 {
				t.Errorf("a refused task left %v, %v", counts, err)
			}
			return
		}
		var got string
		if err := json.Unmarshal(get(t, b, id).Payload, &got); err != nil || got != strings.ToValidUTF8(got, "") ||
			utf8.ValidString(text) && got != text {
			t.Errorf("%q came back as %q, %v", text, got, err)
		}
	})
}

// A job can be shown whatever metadata another program has stored.
func FuzzMetadata(f *testing.F) {
	for _, text := range []string{"", "{}", `{"a":"b"}`, `{"a":1}`, "null", "[", `{"a":"\ud800"}`, "\x00\xff", `{"a":"b"}{}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, metadata []byte) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		defer q.Close()
		pushed, err := b.Push(t.Context(), []backend.NewJob{{Name: "test/any", MaxAttempts: 1, Metadata: metadata}})
		if err != nil {
			return // too long
		}
		info, err := q.Get(t.Context(), pushed[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		var want map[string]string
		if json.Unmarshal(metadata, &want) != nil {
			want = nil
		}
		if !maps.Equal(info.Metadata, want) {
			t.Errorf("%q is shown as %v, want %v", metadata, info.Metadata, want)
		}
	})
}

// Filename returns the name of a file if it is a valid name of a job. Define refuses other
// names.
func FuzzFilename(f *testing.F) {
	for _, file := range []string{"/a/double_opt_in.go", "x_test.go", `C:\jobs\Mail.go`, "", "/", "_.go", "é.go"} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file string) {
		name := plainjobs.NameOf(file)
		if strings.Contains(name, "_") {
			t.Errorf("%q is called %q", file, name)
		}
		if !engine.ValidName(name) {
			if message := panics(func() { plainjobs.Declare[int](name) }); message == "" {
				t.Errorf("%q was declared and is not a valid name", name)
			}
		}
	})
}
