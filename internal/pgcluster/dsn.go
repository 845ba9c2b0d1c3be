package pgcluster

import (
	"net/url"
	"regexp"
	"strings"
)

// With returns a DSN with one more parameter. It accepts both forms: a URL, and keywords
// such as "host=… dbname=…". The value replaces an earlier one, but the parameter options
// is added to the options that the DSN has.
func With(dsn, key, value string) string {
	if strings.Contains(dsn, "://") {
		return withQuery(dsn, key, value)
	}
	if old := keyword(dsn, key); key == "options" && old != "" {
		value = old + " " + value
	}
	return strings.TrimSpace(dsn) + " " + key + "='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'" // the last value counts
}

// withQuery is With for a URL. It does not parse the part before the query, which package
// net/url refuses for some DSNs, for example of several hosts.
func withQuery(dsn, key, value string) string {
	base, query, _ := strings.Cut(dsn, "?")
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		name, old, _ := strings.Cut(part, "=")
		switch {
		case part == "":
		case name != key:
			kept = append(kept, part)
		case key == "options":
			if text, err := url.QueryUnescape(old); err == nil {
				value = text + " " + value
			}
		}
	}
	// libpq does not read a + as a space.
	return base + "?" + strings.Join(append(kept, key+"="+strings.ReplaceAll(url.QueryEscape(value), "+", "%20")), "&")
}

// pair matches one parameter of a DSN of keywords.
var pair = regexp.MustCompile(`(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s\\]|\\.)*))`)

var escaped = regexp.MustCompile(`\\(.)`)

// keyword returns the value of a parameter in a DSN of keywords.
func keyword(dsn, key string) (value string) {
	for _, m := range pair.FindAllStringSubmatch(dsn, -1) {
		if m[1] == key {
			value = escaped.ReplaceAllString(m[2]+m[3], "$1")
		}
	}
	return value
}
