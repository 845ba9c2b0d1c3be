package dashboard

import (
	"strings"
	"testing"
	"time"
)

func TestWords(t *testing.T) {
	for spec, want := range map[string]string{
		"0 9 * * *":          "every day at 09:00",
		"30 3 * * MON-FRI":   "Monday to Friday at 03:30",
		"0 0 1 * *":          "on day 1 of the month at 00:00",
		"0 8,20 * * 0":       "every Sunday at 08:00 and 20:00",
		"*/5 * * * *":        "every 5 minutes",
		"15 * * * *":         "every day at minute 15 of every hour",
		"0 12 L * *":         "on the last day of the month at 12:00",
		"0 12 * * 5L":        "on the last Friday of the month at 12:00",
		"0 12 * * fri#2":     "on the second Friday of the month at 12:00",
		"0 0 13 * 5":         "on day 13 of the month and on Friday at 00:00",
		"0 0 * 1,7 *":        "every day in January and July at 00:00",
		"*/10 * * * * *":     "every 10 seconds of every minute",
		"30 0 6 * * monday":  "every Monday at 06:00:30",
		"@daily":             "every day at 00:00",
		"every 5m0s":         "every 5 minutes",
		"every 1h0m0s":       "every hour",
		"every 1.5s":         "every 1.5s",
		"not an expression":  "",
		"0 9-17 * * 1,3,fri": "every Monday, Wednesday and Friday at minute 0 of hour 9 to 17",
	} {
		if got := inWords(spec); got != want {
			t.Errorf("%s is %q, want %q", spec, got, want)
		}
	}
}

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"plain\n\ttext ä": "plain\n\ttext ä", "a\x00b": `a\x00b`, "\xff": `\xff`, "\u202e": `\u202e`, "a\r\nb": "a\nb", "a\rb": `a\rb`,
		"\x1b[0m": `\x1b[0m`, "\u200b": `\u200b`, "�": "�", "\U000e0001": `\U000e0001`,
	} {
		if got := visible(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestQuoted(t *testing.T) {
	for text, want := range map[string]string{"a.b/c": "a.b/c", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "a\nb": "", "\xff": "", "ä": "'ä'"} {
		if got, ok := quoted(text); got != want || ok != (want != "") {
			t.Errorf("%q is %q, %v; want %q", text, got, ok, want)
		}
	}
}

func TestDiff(t *testing.T) {
	for _, test := range []struct{ a, b, want string }{
		{"x", "x", "  x"}, {"a b c", "a c", "  a|- b|  c"}, {"a c", "a b c", "  a|+ b|  c"}, {"a", "b", "- a|+ b"}, {"a b c d", "b x d", "- a|  b|- c|+ x|  d"},
	} {
		var lines []string
		for _, l := range diff(strings.Fields(test.a), strings.Fields(test.b)) {
			lines = append(lines, l.Mark+" "+l.Text)
		}
		if got := strings.Join(lines, "|"); got != test.want {
			t.Errorf("%s to %s is %q, want %q", test.a, test.b, got, test.want)
		}
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 15 * time.Millisecond: "15 ms", 1500 * time.Millisecond: "1.5 s", 100 * time.Second: "100 s", time.Hour: "60 min", 47 * time.Hour: "47 h 0 min", 72 * time.Hour: "3 days",
	} {
		if got := short(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
