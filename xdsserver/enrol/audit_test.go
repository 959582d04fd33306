package enrol

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func readAudit(t *testing.T, path string) []Entry {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var entries []Entry
	for line := range bytes.Lines(b) {
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries
}

func openAudit(t *testing.T, path string) *Audit {
	t.Helper()
	a, err := OpenAudit(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func appendTo(t *testing.T, a *Audit, reason string) {
	t.Helper()
	if err := a.Append(Entry{Event: eventRefused, Reason: reason}); err != nil {
		t.Fatal(err)
	}
}

func TestAuditIsAChainOverRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	a := openAudit(t, path)
	var wait sync.WaitGroup
	for range 10 {
		wait.Go(func() { appendTo(t, a, "first run") })
	}
	wait.Wait()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Append(Entry{}); err == nil {
		t.Error("a closed log takes entries")
	}
	appendTo(t, openAudit(t, path), "second run")
	if n, err := VerifyAudit(path); n != 11 || err != nil {
		t.Errorf("%d lines, %v, want 11", n, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
}

func TestChangedAuditIsFound(t *testing.T) {
	for name, change := range map[string]func(lines []string) []string{
		"a line is changed":   func(l []string) []string { l[1] = strings.Replace(l[1], "b", "x", 1); return l },
		"a line is taken out": func(l []string) []string { return append(l[:1], l[2:]...) },
		"two are exchanged":   func(l []string) []string { l[1], l[2] = l[2], l[1]; return l },
		"a line is no entry":  func(l []string) []string { l[1] = "nothing\n"; return l },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			a := openAudit(t, path)
			for _, reason := range []string{"a", "b", "c", "d"} {
				appendTo(t, a, reason)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Join(change(strings.SplitAfter(strings.TrimSuffix(string(b), "\n"), "\n")), "")
			if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			if n, err := VerifyAudit(path); err == nil {
				t.Errorf("%d lines, and nothing is found", n)
			}
		})
	}
}

// A line that a crash cut short was never acknowledged: what follows it goes on with
// the chain.
func TestAuditGoesOnAfterAHalfLine(t *testing.T) {
	for name, whole := range map[string]bool{"the only line": false, "after a whole one": true} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			a := openAudit(t, path)
			if whole {
				appendTo(t, a, "whole")
			}
			a.Close()
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(`{"event":"ref`); err != nil {
				t.Fatal(err)
			}
			f.Close()
			appendTo(t, openAudit(t, path), "later")
			log := readAudit(t, path)
			n := len(log)
			if n < 2 || log[n-2].Event != eventRecovered || !strings.Contains(log[n-2].Reason, "ref") || log[n-1].Reason != "later" {
				t.Errorf("got %+v", log)
			}
			if _, err := VerifyAudit(path); err != nil {
				t.Error(err)
			}
		})
	}
}

// What comes from outside makes no line longer than is read back.
func TestAuditCutsWhatIsTooLong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	a := openAudit(t, path)
	long := strings.Repeat("\x00\xff<", 1<<20)
	if err := a.Append(Entry{Event: eventRefused, Identity: long, Peer: long, Instance: long, Serial: long, Token: long, Reason: long}); err != nil {
		t.Fatal(err)
	}
	appendTo(t, a, "next")
	a.Close()
	appendTo(t, openAudit(t, path), "after a restart")
	if n, err := VerifyAudit(path); n != 3 || err != nil {
		t.Errorf("%d lines, %v, want 3", n, err)
	}
}

func TestAuditThatIsReadableByOthersIsClosedToThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	openAudit(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
}

func TestAuditRefusesAFileThatIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 3*maxLine), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAudit(path); err == nil || !strings.Contains(err.Error(), "move the file aside") {
		t.Errorf("got %v", err)
	}
}

// A log that fails takes lines again when it can, without a restart.
func TestAuditComesBackAfterAFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	a := openAudit(t, path)
	appendTo(t, a, "before")
	a.file.Close() // the disk is gone
	if err := a.Append(Entry{Event: eventRefused, Reason: "lost"}); err == nil {
		t.Fatal("acknowledged")
	}
	appendTo(t, a, "after")
	if log := readAudit(t, path); len(log) != 2 || log[1].Reason != "after" {
		t.Errorf("got %+v", log)
	}
	if _, err := VerifyAudit(path); err != nil {
		t.Error(err)
	}
}

func TestFullAuditIsKeptBesideANewOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	a := openAudit(t, path)
	appendTo(t, a, "old")
	a.size = maxAudit
	appendTo(t, a, "new")
	old, fresh := readAudit(t, path+oldAudit), readAudit(t, path)
	if len(old) != 1 || old[0].Reason != "old" || len(fresh) != 1 || fresh[0].Reason != "new" {
		t.Fatalf("%+v and %+v", old, fresh)
	}
	b, err := os.ReadFile(path + oldAudit)
	if err != nil || fresh[0].Prev != chained(bytes.TrimSuffix(b, []byte("\n"))) {
		t.Error("the new log does not go on with the chain of the old")
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	again := openAudit(t, path)
	appendTo(t, again, "newer")
	if n, err := VerifyAudit(path); n != 3 || err != nil {
		t.Errorf("%d lines, %v, want 3", n, err)
	}
	if err := os.Truncate(path+oldAudit, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyAudit(path); err == nil {
		t.Error("the old log is emptied, and nothing is found")
	}
	if err := os.Remove(path + oldAudit); err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyAudit(path); err == nil {
		t.Error("the old log is taken away, and nothing is found")
	}
}

// A second full log takes the place of the first: the one that is kept begins in the
// middle of the chain.
func TestOneFullAuditIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	a := openAudit(t, path)
	for range 3 {
		appendTo(t, a, "line")
		a.size = maxAudit
	}
	appendTo(t, a, "last")
	if n, err := VerifyAudit(path); n != 2 || err != nil {
		t.Errorf("%d lines, %v, want 2", n, err)
	}
}
