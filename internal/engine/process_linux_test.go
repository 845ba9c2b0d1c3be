package engine

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

func TestProcess(t *testing.T) {
	me := Process()
	if me == "" {
		t.Skip("/proc does not tell of this process")
	}
	if ended, present := lookAt(me); ended || !present {
		t.Errorf("this process: ended %v, present %v", ended, present)
	}
	for _, text := range []string{"", "x", "a b c d", strings.Replace(me, "pid:[", "pid:[9", 1), "x" + me} {
		if ended, present := lookAt(text); ended || present {
			t.Errorf("%q: ended %v, present %v, want neither", text, ended, present)
		}
	}
	if ended, present := lookAt(me + "1"); !ended || present {
		t.Errorf("another process with this one's number: ended %v, present %v", ended, present)
	}

	child := exec.Command("cat") // waits for what it never gets
	if _, err := child.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	_, began, err := stat(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	where, err := whereabouts()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join([]string{where, strconv.Itoa(child.Process.Pid), began}, " ")
	if ended, present := lookAt(text); ended || !present {
		t.Errorf("a child: ended %v, present %v", ended, present)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for ended := false; !ended; { // a zombie, and then nothing
		ended, _ = lookAt(text)
	}
	_ = child.Wait()
	if ended, present := lookAt(text); !ended || present {
		t.Errorf("a child that was killed: ended %v, present %v", ended, present)
	}
}
