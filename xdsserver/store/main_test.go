package store

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logged collects what a store logs.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// open opens dir and closes it with the test.
func open(t *testing.T, dir string) (*Store, *logged) {
	t.Helper()
	log := &logged{}
	s, err := Open(Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s, log
}

func closeStore(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func service(name string) model.Ref {
	return model.Ref{Kind: model.KindService, Namespace: model.DefaultNamespace, Name: name}
}

// apply applies name -> yaml, where an empty yaml removes.
func apply(t *testing.T, s *Store, pairs ...string) uint64 {
	t.Helper()
	revision, err := s.Apply(context.Background(), changes(pairs...), Intent{})
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func changes(pairs ...string) []Change {
	var out []Change
	for i := 0; i < len(pairs); i += 2 {
		c := Change{Ref: service(pairs[i])}
		if pairs[i+1] != "" {
			c.YAML = []byte(pairs[i+1])
		}
		out = append(out, c)
	}
	return out
}

// dump is the store's objects as "name=yaml@revision" words.
func dump(s *Store) string {
	objects, _ := s.Objects()
	words := make([]string, 0, len(objects))
	for _, o := range objects {
		words = append(words, o.Ref.Name+"="+string(o.YAML))
	}
	return strings.Join(words, " ")
}

var quiet = slog.New(slog.DiscardHandler)
