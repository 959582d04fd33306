package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestWhatApplyAcknowledgedIsThereAfterReopening(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s, _ := open(t, dir)
	if got := s.Revision(); got != 0 {
		t.Fatalf("revision of an empty store: got %d, want 0", got)
	}
	apply(t, s, "voting", "v1", "emoji", "e1")
	apply(t, s, "voting", "v2", "web", "w1")
	if got := apply(t, s, "emoji", ""); got != 3 {
		t.Fatalf("revision: got %d, want 3", got)
	}
	// No Close: a crash leaves the files as they are.
	again, _ := open(t, crash(t, s))
	if got, want := dump(again), "voting=v2 web=w1"; got != want {
		t.Errorf("after reopening: got %q, want %q", got, want)
	}
	objects, revision := again.Objects()
	if revision != 3 || objects[0].Revision != 2 || objects[1].Revision != 2 || objects[0].Changed.IsZero() {
		t.Errorf("after reopening: got revision %d of %+v", revision, objects)
	}
}

func TestApplyThatChangesNothingKeepsTheRevision(t *testing.T) {
	s, _ := open(t, t.TempDir())
	apply(t, s, "voting", "v1")
	if got := apply(t, s, "voting", "v1", "gone", ""); got != 1 {
		t.Errorf("revision: got %d, want 1", got)
	}
}

func TestApplyComparesTheRevision(t *testing.T) {
	s, _ := open(t, t.TempDir())
	apply(t, s, "voting", "v1")
	apply(t, s, "voting", "v2")
	revision, err := s.Apply(context.Background(), changes("voting", "v3"), Intent{IfRevision: 1})
	var conflict *ConflictError
	if !errors.As(err, &conflict) || *conflict != (ConflictError{Want: 1, Have: 2}) || revision != 2 {
		t.Fatalf("got %d, %v, want a conflict of 1 with 2", revision, err)
	}
	if got := dump(s); got != "voting=v2" {
		t.Errorf("after the conflict: got %q", got)
	}
	if revision, err = s.Apply(context.Background(), changes("voting", "v3"), Intent{IfRevision: 2}); err != nil || revision != 3 {
		t.Errorf("at the right revision: got %d, %v", revision, err)
	}
}

func TestOfManyWhoCompareOneWins(t *testing.T) {
	s, _ := open(t, t.TempDir())
	apply(t, s, "voting", "v0")
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 8 {
		wg.Go(func() {
			_, err := s.Apply(context.Background(), changes("voting", fmt.Sprint("v", i+1)), Intent{IfRevision: 1})
			var conflict *ConflictError
			if err != nil && !errors.As(err, &conflict) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			}
		})
	}
	wg.Wait()
	if won != 1 || s.Revision() != 2 {
		t.Errorf("got %d winners at revision %d, want one at 2", won, s.Revision())
	}
}

func TestApplyRefusesWhatItCannotKeep(t *testing.T) {
	s, _ := open(t, t.TempDir())
	for name, c := range map[string]Change{
		"a name with a slash": {Ref: service("a/b"), YAML: []byte("x")},
		"no name":             {Ref: service(""), YAML: []byte("x")},
		"no UTF-8":            {Ref: service("a"), YAML: []byte{0xff}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := s.Apply(context.Background(), []Change{{Ref: service("good"), YAML: []byte("g")}, c}, Intent{}); err == nil {
				t.Error("got no error")
			}
			if got := dump(s); got != "" {
				t.Errorf("half of it was applied: %q", got)
			}
		})
	}
}

func TestApplyAfterItsContextEndedChangesNothing(t *testing.T) {
	s, _ := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Apply(ctx, changes("voting", "v1"), Intent{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := dump(s); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestReadsGoOnAfterClose(t *testing.T) {
	s, _ := open(t, t.TempDir())
	apply(t, s, "voting", "v1")
	closeStore(t, s)
	if got := dump(s); got != "voting=v1" {
		t.Errorf("got %q", got)
	}
	if _, err := s.Apply(context.Background(), changes("voting", "v2"), Intent{}); !errors.Is(err, ErrClosed) {
		t.Errorf("apply: got %v, want ErrClosed", err)
	}
	if err := s.SaveEndpoints(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("save: got %v, want ErrClosed", err)
	}
}

func TestSecondProcessIsToldWhichFileAndWho(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	_, err := Open(Config{Dir: dir})
	if err == nil {
		t.Fatal("the directory was opened twice")
	}
	for _, want := range []string{filepath.Join(dir, "tulle.lock"), fmt.Sprint("process ", os.Getpid()), "--data"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}

func TestFilesAreOfTheirOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s, _ := open(t, dir)
	apply(t, s, "voting", "v1")
	for file, want := range map[string]os.FileMode{".": 0o700, mainFile: 0o600, copyFile: 0o600, lockFile: 0o600} {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: got mode %o, want %o", file, got, want)
		}
	}
}

func TestOpenNeedsADirectory(t *testing.T) {
	if _, err := Open(Config{}); err == nil || !strings.Contains(err.Error(), "Config.Dir") {
		t.Errorf("no directory: got %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: file}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file in place of the directory: got %v", err)
	}
}

// crash returns a directory with the files of s as they are now.
func crash(t *testing.T, s *Store) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{mainFile, copyFile} {
		b, err := os.ReadFile(s.path(file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func BenchmarkApplyOneOf1000(b *testing.B) {
	s, err := Open(Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	all := make([]Change, 0, 1000)
	for i := range 1000 {
		all = append(all, Change{Ref: service(fmt.Sprint("s", i)), YAML: []byte(strings.Repeat("spec: {}\n", 50))})
	}
	if _, err := s.Apply(b.Context(), all, Intent{}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if _, err := s.Apply(b.Context(), changes("s7", fmt.Sprint(n)), Intent{}); err != nil {
			b.Fatal(err)
		}
	}
}
