package engine

import (
	"runtime/debug"
	"testing"
)

func TestVersionOf(t *testing.T) {
	revision := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}
	for _, test := range []struct {
		version  string
		settings []debug.BuildSetting
		want     string
	}{
		{"v1.2.3", revision, "v1.2.3"},
		{"(devel)", revision, "0123456789ab+dirty"},
		{"", revision[:1], "0123456789ab"},
		{"(devel)", nil, ""},
	} {
		if got := versionOf(&debug.BuildInfo{Main: debug.Module{Version: test.version}, Settings: test.settings}); got != test.want {
			t.Errorf("the version of %q with %v is %q, want %q", test.version, test.settings, got, test.want)
		}
	}
}
