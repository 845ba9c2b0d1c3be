package pgcluster

import (
	"fmt"
	"net/url"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
)

// hosts are the hosts of DSNs, in both forms.
var hosts = []struct{ url, keywords string }{
	{"db.example", "host=db.example"},
	{"[::1]:5433", "host=::1 port=5433"},
	{"a:1,b:2", "host=a,b port=1,2"},
	{"[::1]:1,[::2]:2", "host=::1,::2 port=1,2"},
	{"%2Frun%2Fpg:5433", "host=/run/pg port=5433"},
	{"", "host='/run/my pg'"},
}

// With adds a parameter to DSNs of all forms, and changes nothing else.
func TestWith(t *testing.T) {
	for _, password := range []string{"", "secret", "p@ss/w?o:r#d", `it's \ 100%`, "a b", "options=x password='y'", "é&=+"} {
		for _, host := range hosts {
			address := "postgres://" + url.UserPassword("u", password).String() + "@" + host.url + "/db?sslmode=disable"
			if host.url == "" {
				address += "&host=" + url.PathEscape("/run/my pg")
			}
			words := With(host.keywords+" user=u dbname=db sslmode=disable", "password", password)
			for _, dsn := range []string{address, words} {
				checkWith(t, dsn, password)
			}
		}
	}
}

func checkWith(t *testing.T, dsn, password string) {
	t.Helper()
	parse := func(dsn string) *pgx.ConnConfig {
		c, err := pgx.ParseConfig(dsn)
		if err != nil {
			t.Fatalf("ParseConfig(%q): %v", dsn, err)
		}
		return c
	}
	dsn = With(With(dsn, "application_name", "it's 1 + 1"), "options", "-c a=b")
	before := parse(dsn)
	after := parse(With(With(With(dsn, "options", `-c c=d\ e`), "dbname", "o'ther"), "application_name", "x"))
	if before.Password != password || after.Password != password {
		t.Errorf("%s has the password %q, then %q; want %q", dsn, before.Password, after.Password, password)
	}
	if got := before.RuntimeParams["application_name"]; got != "it's 1 + 1" {
		t.Errorf("%s has the name %q", dsn, got)
	}
	if after.Database != "o'ther" || after.RuntimeParams["application_name"] != "x" || after.RuntimeParams["options"] != `-c a=b -c c=d\ e` {
		t.Errorf("With(%s) has the database %q and %q", dsn, after.Database, after.RuntimeParams)
	}
	if got, want := addresses(after), addresses(before); !slices.Equal(got, want) {
		t.Errorf("With(%s) has the hosts %v, want %v", dsn, got, want)
	}
}

func addresses(c *pgx.ConnConfig) []string {
	all := []string{fmt.Sprint(c.Host, " ", c.Port)}
	for _, f := range c.Fallbacks {
		all = append(all, fmt.Sprint(f.Host, " ", f.Port))
	}
	return all
}
