package kv

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
	"github.com/tulle-mesh/tulle/xdsserver/store"
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

// A rig is one xdsserver's store, with what it logs.
type rig struct {
	*Store
	log *logged
}

func client(t testing.TB, agent *consultest.Agent, prefix string) *consul.Client {
	t.Helper()
	c, err := consul.New(consul.Config{Address: agent.Address(), Token: agent.Token, Prefix: prefix, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// open opens a store that does not run.
func open(t testing.TB, agent *consultest.Agent, prefix, cache string) rig {
	t.Helper()
	log := &logged{}
	s, err := Open(t.Context(), Config{Client: client(t, agent, prefix), CacheFile: cache, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return rig{s, log}
}

// An outlet is what a running source emitted last.
type outlet struct {
	mu   sync.Mutex
	last source.Output
	all  []uint64 // generations
	stop func()
}

func (o *outlet) get() source.Output {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}

// run starts a source, which ends with the test, or before by stop.
func run(t testing.TB, s source.Source) *outlet {
	t.Helper()
	o := &outlet{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx, func(out source.Output) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.last, o.all = out, append(o.all, out.Generation)
		})
	}()
	o.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(o.stop)
	return o
}

// until waits for something that a real agent brings about.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		if is() {
			return
		}
		if !sleep(ctx, 5*time.Millisecond) {
			break
		}
	}
	t.Fatalf("waited in vain: %s", what)
}

func service(name string) model.Ref {
	return model.Ref{Kind: model.KindService, Namespace: model.DefaultNamespace, Name: name}
}

// changes are name -> yaml, where an empty yaml removes.
func changes(pairs ...string) []store.Change {
	var out []store.Change
	for i := 0; i < len(pairs); i += 2 {
		c := store.Change{Ref: service(pairs[i])}
		if pairs[i+1] != "" {
			c.YAML = []byte(pairs[i+1])
		}
		out = append(out, c)
	}
	return out
}

// A keeper is what both stores are.
type keeper interface {
	source.Source
	Objects() ([]store.Object, uint64)
	Revision() uint64
	Generation(revision uint64) uint64
	Apply(ctx context.Context, changes []store.Change, intent store.Intent) (uint64, error)
	History() []store.Revision
	Back(revision uint64) ([]store.Change, uint64, bool)
	Status() store.Status
	Tokens() (map[string][]byte, error)
	UpdateToken(id string, change func(old []byte) ([]byte, error)) error
}

var (
	_ keeper = (*store.Store)(nil)
	_ keeper = (*Store)(nil)
)

func apply(t testing.TB, s keeper, pairs ...string) uint64 {
	t.Helper()
	revision, err := s.Apply(t.Context(), changes(pairs...), store.Intent{})
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// dump is the store's objects as "name=yaml" words.
func dump(s keeper) string {
	objects, _ := s.Objects()
	words := make([]string, 0, len(objects))
	for _, o := range objects {
		words = append(words, o.Ref.Name+"="+string(o.YAML))
	}
	return strings.Join(words, " ")
}

// grow applies n changes, one at a time.
func grow(t testing.TB, s keeper, n int) {
	t.Helper()
	for i := range n {
		apply(t, s, "voting", time.Duration(i).String()+" of "+time.Now().String())
	}
}

// leading calls do while it leads.
func leading(t testing.TB, c *consul.Client, do func(consul.Fence)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := c.Lead(ctx, consul.Leadership{Key: "leader", Name: "test", Do: func(_ context.Context, f consul.Fence) error {
		do(f)
		cancel()
		return nil
	}}); err != nil {
		t.Error(err)
	}
}
