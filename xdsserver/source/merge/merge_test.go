package merge

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fake source emits what it is told.
type fake struct {
	name string
	out  chan source.Output
	fail chan error
}

func newFake(name string) *fake {
	return &fake{name: name, out: make(chan source.Output, 100), fail: make(chan error, 1)}
}

func (f *fake) Name() string { return f.name }

func (f *fake) Run(ctx context.Context, emit func(source.Output)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case o := <-f.out:
			emit(o)
		case err := <-f.fail:
			return err
		}
	}
}

// services is an output of services named names.
func services(generation uint64, from string, names ...string) source.Output {
	out := source.Output{Generation: generation}
	for _, n := range names {
		out.Objects = append(out.Objects, &model.Service{Name: model.ServiceName{Namespace: "default", Name: n}, From: from})
	}
	return out
}

// A run is a Merger at work: the sets it emitted, and when.
type run struct {
	*Merger
	sets chan emitted
	stop func() error
}

type emitted struct {
	set *model.Set
	at  time.Time
}

func start(t *testing.T, sources ...source.Source) *run {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &run{Merger: New(sources, slog.New(slog.DiscardHandler)), sets: make(chan emitted, 1000)}
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, func(s *model.Set) { r.sets <- emitted{s, time.Now()} }) }()
	r.stop = func() error {
		cancel()
		return <-done
	}
	t.Cleanup(cancel)
	return r
}

func TestFirstSetWaitsForEverySource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFake("a"), newFake("b")
		r := start(t, a, b)
		a.out <- services(1, "a:1", "web")
		synctest.Wait()
		if len(r.sets) != 0 {
			t.Fatal("a set came before b had emitted")
		}
		b.out <- services(7, "b:1", "voting")
		set := (<-r.sets).set
		if len(set.Services) != 2 || set.Generations["a"] != 1 || set.Generations["b"] != 7 {
			t.Errorf("got %d services and %v, want both sources", len(set.Services), set.Generations)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestFirstSetDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFake("a"), newFake("b")
		r := start(t, a, b)
		began := time.Now()
		a.out <- services(1, "a:1", "web")
		if e := <-r.sets; e.at.Sub(began) != patience || len(e.set.Services) != 1 {
			t.Errorf("first set after %v with %d services, want after %v with that of a", e.at.Sub(began), len(e.set.Services), patience)
		}
	})
}

func TestLoneChangeIsEmittedAtOnceAndStormsAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newFake("a")
		r := start(t, a)
		a.out <- services(1, "a:1", "one")
		<-r.sets
		time.Sleep(gap)

		began := time.Now()
		a.out <- services(2, "a:1", "one", "two")
		if e := <-r.sets; e.at != began {
			t.Errorf("a lone change was emitted after %v, want at once", e.at.Sub(began))
		}
		// Two more within the gap wait for its end, together.
		time.Sleep(gap / 5)
		a.out <- services(3, "a:1", "one")
		time.Sleep(gap / 5)
		a.out <- services(4, "a:1", "one", "two", "three")
		if e := <-r.sets; e.at.Sub(began) != gap || e.set.Generations["a"] != 4 {
			t.Errorf("emitted %v after the one before with generation %d, want %v and 4", e.at.Sub(began), e.set.Generations["a"], gap)
		}
		// A storm of 10 s with a change each 10 ms gives a set each gap.
		time.Sleep(time.Minute)
		for i := range 1000 {
			a.out <- services(uint64(5+i), "a:1", "one")
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		if n, most := len(r.sets), int(10*time.Second/gap)+1; n > most || n < most-10 {
			t.Errorf("%d sets in a storm of 10 s, want about %d", n, most)
		}
		var e emitted
		for len(r.sets) > 0 {
			e = <-r.sets
		}
		if e.set.Generations["a"] != 1004 {
			t.Errorf("the last set holds generation %d, want 1004", e.set.Generations["a"])
		}
	})
}

func TestFirstSourceOwnsAnObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFake("a"), newFake("b")
		r := start(t, a, b)
		a.out <- services(1, "mesh.yaml:3", "web")
		b.out <- services(1, "applied", "web")
		set := (<-r.sets).set
		for _, s := range set.Services {
			if s.From != "mesh.yaml:3" {
				t.Errorf("web is that of %s, want mesh.yaml:3", s.From)
			}
		}
		if len(set.Problems) != 1 || !strings.Contains(set.Problems[0].Message, "mesh.yaml:3") {
			t.Errorf("problems %v, want one that names mesh.yaml:3", set.Problems)
		}
		if got := r.Objects(); len(got) != 1 || got[0].Origin() != "mesh.yaml:3" {
			t.Errorf("Objects() = %v, want web of mesh.yaml:3", got)
		}
	})
}

func TestPreviewChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newFake("a")
		r := start(t, a)
		a.out <- services(1, "a:1", "web")
		<-r.sets
		preview := r.Preview("a", services(0, "new", "web", "voting").Objects)
		if len(preview.Services) != 2 {
			t.Errorf("preview has %d services, want 2", len(preview.Services))
		}
		if len(r.Objects()) != 1 || len(r.sets) != 0 {
			t.Error("the preview changed the merger")
		}
	})
}

func TestSourceThatFailsIsShownAndOneThatEndsIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newFake("a")
		r := start(t, a)
		out := services(1, "a:1", "web")
		out.Err = errors.New("disk on fire")
		a.out <- out
		if set := (<-r.sets).set; len(set.Services) != 1 {
			t.Error("the last good state of a source in trouble must be served")
		}
		if s := r.Status(); s[0].Name != "a" || s[0].Err == nil || s[0].Updated.IsZero() {
			t.Errorf("status %+v, want a's error", s[0])
		}
		a.fail <- errors.New("gone")
		synctest.Wait()
		if err := r.stop(); err == nil || !strings.Contains(err.Error(), "source a: gone") {
			t.Errorf("got %v, want the error of source a", err)
		}
	})
}

func ExampleNew() {
	m := New(nil, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	if err := m.Run(ctx, func(*model.Set) { cancel() }); err != nil {
		panic(err)
	}
	// Output:
}

// Publishing a large mesh takes time; changes that come meanwhile wait as long
// again, so that half the time is left.
func TestSlowSetEarnsAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newFake("a")
		m := New([]source.Source{a}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began := make(chan time.Time, 10)
		go func() {
			_ = m.Run(ctx, func(*model.Set) {
				began <- time.Now()
				time.Sleep(400 * time.Millisecond)
			})
		}()
		a.out <- services(1, "a:1", "one")
		first := <-began
		a.out <- services(2, "a:1", "two")
		if got := (<-began).Sub(first); got != 800*time.Millisecond {
			t.Errorf("the second set began %v after the first, want 800ms", got)
		}
		cancel()
		synctest.Wait()
		time.Sleep(time.Second)
	})
}
