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

// A line that a crash cut short is the end of nothing.
func TestAuditGoesOnAfterAHalfLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(`{"event":"ref`), 0o600); err != nil {
		t.Fatal(err)
	}
	appendTo(t, openAudit(t, path), "later")
	b, err := os.ReadFile(path)
	if err != nil || bytes.Count(b, []byte("\n")) != 2 {
		t.Errorf("%q, %v, want two lines", b, err)
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
	if n, err := VerifyAudit(path); n != 2 || err != nil {
		t.Errorf("%d lines, %v", n, err)
	}
}
