package cli

import "testing"

func TestInvocation(t *testing.T) {
	const build = "/home/ada/.cache/go-build/a8/a8f1-d/app"
	for _, test := range []struct {
		name, file, pkg, module string
		atRoot                  bool
		want                    string
	}{
		{"app", "app", "example.com/app", "example.com/app", false, "app"},
		{"app", "./app", "example.com/app", "example.com/app", true, "./app"},
		{"app", "bin/app", "example.com/app", "example.com/app", true, "bin/app"},
		{"app", "/usr/local/bin/app", "example.com/app", "example.com/app", true, "app"},
		{"app", build, "example.com/app", "example.com/app", true, "go run ."},
		{"app", build, "example.com/all/cmd/app", "example.com/all", true, "go run ./cmd/app"},
		{"app", build, "example.com/all/cmd/app", "example.com/all", false, "go run example.com/all/cmd/app"},
		{"app", "/tmp/go-build12/b001/exe/app.exe", "example.com/all/cmd/app", "example.com/all", true, "go run ./cmd/app"},
		{"app", build, "command-line-arguments", "example.com/app", true, "app"},
		{"other", "./app", "example.com/app", "example.com/app", true, "other"}, // the root command has another name
	} {
		if got := invocation(test.name, test.file, test.pkg, test.module, test.atRoot); got != test.want {
			t.Errorf("invocation(%s, %s, %s) = %q, want %q", test.name, test.file, test.pkg, got, test.want)
		}
	}
}
