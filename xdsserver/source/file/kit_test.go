package file

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"

	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A follower is a Source at work on a directory of its own.
type follower struct {
	t    *testing.T
	path string
	out  chan source.Output
	// events stands for the operating system's notification in tests that have
	// time of their own.
	events chan fsnotify.Event
}

// follow runs a Source on path within a synctest bubble; it ends with the test.
func follow(t *testing.T, path string) *follower {
	t.Helper()
	f := &follower{t: t, path: path, out: make(chan source.Output, 100), events: make(chan fsnotify.Event)}
	s := open(t, path)
	s.notify = func(string, *slog.Logger) *notifier { return &notifier{events: f.events} }
	f.run(s)
	return f
}

// followForReal runs a Source as it is, with notification and real time.
func followForReal(t *testing.T, path string) *follower {
	t.Helper()
	f := &follower{t: t, path: path, out: make(chan source.Output, 100)}
	f.run(open(t, path))
	return f
}

func open(t *testing.T, path string) *Source {
	t.Helper()
	s, err := New(Config{Path: path, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *follower) run(s *Source) {
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, func(o source.Output) { f.out <- o }) }()
	f.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("Run: %v", err)
		}
	})
}

// tell is the operating system's word that something changed.
func (f *follower) tell() { f.events <- fsnotify.Event{} }

// next waits for an output. In real time it must come well before the poll.
func (f *follower) next() source.Output {
	f.t.Helper()
	select {
	case o := <-f.out:
		return o
	case <-time.After(poll - time.Second):
		f.t.Fatal("no output")
		return source.Output{}
	}
}

// none checks that nothing is emitted for a while.
func (f *follower) none(d time.Duration) {
	f.t.Helper()
	select {
	case o := <-f.out:
		f.t.Fatalf("got an output: %s", show(f.path, o))
	case <-time.After(d):
	}
}

// show is an output in a line, with paths from the root: the objects in order,
// the problems, the error.
func show(root string, o source.Output) string {
	objects := make([]string, 0, len(o.Objects))
	for _, obj := range o.Objects {
		s := obj.Ref().Name
		if svc, ok := obj.(*model.Service); ok && svc.Timeout > 0 {
			s += "=" + svc.Timeout.String()
		}
		objects = append(objects, s)
	}
	line := fmt.Sprint(objects)
	for _, p := range o.Problems {
		line += " problem " + p.From + " " + p.Message
	}
	if o.Err != nil {
		line += " error " + o.Err.Error()
	}
	return strings.ReplaceAll(line, root+string(filepath.Separator), "")
}

func (f *follower) want(o source.Output, want string) {
	f.t.Helper()
	if got := show(f.path, o); !strings.HasPrefix(got, want) || want == "[]" && got != want {
		f.t.Errorf("\n got  %s\n want %s", got, want)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func service(name, timeout string) string {
	return "---\napiVersion: tulle/v1\nkind: Service\nmetadata: {name: " + name + "}\nspec: {timeout: " + timeout + "}\n"
}
