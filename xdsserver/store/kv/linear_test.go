package kv

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

// keys is how many objects the histories below are about.
const keys = 20

// A world is what a store is to the model.
type world struct {
	revision uint64
	values   [keys]int // zero is no object
}

// A write is one Apply, of one object. Without a value it only asks for the world.
type write struct {
	key, value int
	ifRevision uint64
}

// An outcome is what became of it.
type outcome struct {
	revision uint64
	conflict bool
	unknown  bool
	world    world // of who asked
}

// sequential is a store that takes one write at a time.
var sequential = porcupine.NondeterministicModel{
	Init: func() []any { return []any{world{}} },
	Step: func(state, input, output any) []any {
		w, in, out := state.(world), input.(write), output.(outcome)
		if in.value == 0 {
			if w != out.world {
				return nil
			}
			return []any{w}
		}
		fits := in.ifRevision == 0 || in.ifRevision == w.revision
		next := w
		if w.values[in.key] != in.value {
			next.revision++
			next.values[in.key] = in.value
		}
		switch {
		case out.unknown && fits:
			return []any{w, next}
		case out.unknown, out.conflict && !fits:
			return []any{w}
		case !out.conflict && fits && out.revision == next.revision:
			return []any{next}
		}
		return nil
	},
	Equal: func(a, b any) bool { return a.(world) == b.(world) },
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%+v -> %+v", input, output)
	},
}

// A recorder keeps a history for the model.
type recorder struct {
	began time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation
}

func (r *recorder) add(client int, in write, call time.Time, out outcome) {
	end := time.Since(r.began).Nanoseconds()
	if out.unknown {
		end = math.MaxInt64 // it may happen at any time, or never
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, porcupine.Operation{ClientId: client, Input: in, Call: call.Sub(r.began).Nanoseconds(), Output: out, Return: end})
}

func (r *recorder) write(ctx context.Context, client int, s keeper, in write) outcome {
	call := time.Now()
	revision, err := s.Apply(ctx, changes(fmt.Sprintf("key-%02d", in.key), fmt.Sprint(in.value)), store.Intent{By: fmt.Sprint(client), IfRevision: in.ifRevision})
	_, conflict := errors.AsType[*store.ConflictError](err)
	out := outcome{revision: revision, conflict: conflict, unknown: err != nil && !conflict}
	r.add(client, in, call, out)
	return out
}

// asks adds what a store has now, after everything else.
func (r *recorder) asks(t *testing.T, s keeper) {
	t.Helper()
	call := time.Now()
	var w world
	objects, revision := s.Objects()
	w.revision = revision
	for _, o := range objects {
		var key int
		if _, err := fmt.Sscanf(o.Ref.Name, "key-%02d", &key); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(string(o.YAML), &w.values[key]); err != nil {
			t.Fatal(err)
		}
	}
	r.add(0, write{}, call, outcome{world: w})
}

func (r *recorder) check(t *testing.T) {
	t.Helper()
	began := time.Now()
	switch result := porcupine.CheckOperationsTimeout(sequential.ToModel(), r.ops, 30*time.Second); result {
	case porcupine.Ok:
		t.Logf("history of %d operations is linearizable, checked in %v", len(r.ops), time.Since(began).Round(time.Millisecond))
	default:
		t.Errorf("history of %d operations: %v", len(r.ops), result)
	}
}

func TestTheModelOfAStoreBites(t *testing.T) {
	op := func(begin, end int64, in write, out outcome) porcupine.Operation {
		return porcupine.Operation{Input: in, Call: begin, Output: out, Return: end}
	}
	one, two := write{key: 1, value: 1}, write{key: 1, value: 2}
	for name, test := range map[string]struct {
		ops  []porcupine.Operation
		want bool
	}{
		"one after the other":        {[]porcupine.Operation{op(0, 1, one, outcome{revision: 1}), op(2, 3, two, outcome{revision: 2})}, true},
		"a lost change":              {[]porcupine.Operation{op(0, 3, one, outcome{revision: 1}), op(1, 2, two, outcome{revision: 1})}, false},
		"out of order":               {[]porcupine.Operation{op(0, 1, one, outcome{revision: 2}), op(2, 3, two, outcome{revision: 1})}, false},
		"a conflict without another": {[]porcupine.Operation{op(0, 1, one, outcome{revision: 1}), op(2, 3, write{1, 2, 1}, outcome{conflict: true})}, false},
		"nobody knows, and it was made": {[]porcupine.Operation{
			op(0, math.MaxInt64, one, outcome{unknown: true}), op(2, 3, two, outcome{revision: 2}),
		}, true},
		"nobody knows, and it was not": {[]porcupine.Operation{
			op(0, math.MaxInt64, one, outcome{unknown: true}), op(2, 3, two, outcome{revision: 1}),
		}, true},
		"old objects": {[]porcupine.Operation{op(0, 1, one, outcome{revision: 1}), op(2, 3, write{}, outcome{})}, false},
	} {
		if got := porcupine.CheckOperations(sequential.ToModel(), test.ops); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// alike waits until two stores have the same.
func alike(t *testing.T, a, b rig) {
	t.Helper()
	until(t, "both stores are at the same revision", func() bool { return a.Revision() == b.Revision() })
	one, _ := a.Objects()
	other, _ := b.Objects()
	if diff := cmp.Diff(one, other); diff != "" {
		t.Errorf("objects (-one +other):\n%s", diff)
	}
	if diff := cmp.Diff(a.History(), b.History()); diff != "" {
		t.Errorf("history (-one +other):\n%s", diff)
	}
}

// storm has two stores make n changes, by 50 goroutines each, and checks what they say.
func storm(t *testing.T, agents [2]*consultest.Agent, n int, conditional bool) (made, lost int) {
	t.Helper()
	prefix := fmt.Sprint("storm", conditional)
	stores := [2]rig{open(t, agents[0], prefix, ""), open(t, agents[1], prefix, "")}
	run(t, stores[0])
	run(t, stores[1])
	r := &recorder{began: time.Now()}
	var wait sync.WaitGroup
	var mu sync.Mutex
	var took []time.Duration
	const each = 50
	for c := range 2 * each {
		wait.Go(func() {
			s := stores[c%2]
			for i := range n / (2 * each) {
				in := write{key: (c*7 + i) % keys, value: 1 + c*1000 + i}
				if conditional {
					in.ifRevision = s.Revision()
				}
				began := time.Now()
				out := r.write(context.Background(), c, s, in)
				mu.Lock()
				took = append(took, time.Since(began))
				switch {
				case out.unknown:
					t.Errorf("%+v failed", in)
				case out.conflict:
					lost++
				default:
					made++
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	elapsed := time.Since(r.began)
	alike(t, stores[0], stores[1])
	r.asks(t, stores[0])
	r.asks(t, stores[1])
	r.check(t)
	if got := stores[0].Revision(); got != uint64(made) {
		t.Errorf("revision is %d after %d changes", got, made)
	}
	slices.Sort(took)
	t.Logf("%d changes and %d conflicts in %v: %.0f applies/s; each, in a queue of 100: median %v, p99 %v",
		made, lost, elapsed.Round(time.Millisecond), float64(made+lost)/elapsed.Seconds(), took[len(took)/2].Round(time.Millisecond), took[len(took)*99/100].Round(time.Millisecond))
	return made, lost
}

func TestNoChangeIsLost(t *testing.T) {
	const n = 1000
	for name, agents := range map[string]func(t *testing.T) [2]*consultest.Agent{
		"one agent": func(t *testing.T) [2]*consultest.Agent {
			a := consultest.Start(t)
			return [2]*consultest.Agent{a, a}
		},
		"three servers": func(t *testing.T) [2]*consultest.Agent {
			all := consultest.Cluster(t, 3)
			all[1].Ready(t)
			return [2]*consultest.Agent{all[0], all[1]}
		},
	} {
		t.Run(name, func(t *testing.T) {
			of := agents(t)
			if made, lost := storm(t, of, n, false); made != n || lost != 0 {
				t.Errorf("got %d changes and %d conflicts, want %d and none", made, lost, n)
			}
			if made, lost := storm(t, of, n, true); made+lost != n || made == 0 {
				t.Errorf("got %d changes and %d conflicts of %d", made, lost, n)
			}
		})
	}
}

// Answers are lost while a cluster elects another leader: whether such a change was made
// is not known, and every other is as it was said to be.
func TestChangesAreAsTheyWereSaidToBeWhenALeaderIsKilled(t *testing.T) {
	servers := consultest.Cluster(t, 3)
	for _, s := range servers {
		s.Ready(t)
	}
	leader := slices.IndexFunc(servers, func(a *consultest.Agent) bool { return a.Leads(t) })
	if leader < 0 {
		t.Fatal("nobody leads")
	}
	stores := [2]rig{open(t, servers[(leader+1)%3], "kill", ""), open(t, servers[(leader+2)%3], "kill", "")}
	run(t, stores[0])
	run(t, stores[1])
	r := &recorder{began: time.Now()}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wait sync.WaitGroup
	var mu sync.Mutex
	made, unknowns, after := 0, 0, 0
	var killed time.Time
	for c := range 8 {
		wait.Go(func() {
			for i := 0; ctx.Err() == nil && i < 500; i++ {
				each, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				out := r.write(each, c, stores[c%2], write{key: (c + i) % keys, value: 1 + c*1000 + i})
				cancel()
				mu.Lock()
				if out.unknown {
					unknowns++
				} else if made++; !killed.IsZero() {
					after++
				}
				mu.Unlock()
				for sleep(ctx, 5*time.Millisecond) && stores[c%2].Status().Problem != "" {
				}
			}
		})
	}
	until(t, "some changes are made", func() bool { return stores[0].Revision() >= 200 })
	servers[leader].Kill(t)
	mu.Lock()
	killed = time.Now()
	after = 0
	mu.Unlock()
	until(t, "changes are made again", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return after >= 200
	})
	t.Logf("changes were made again and 200 more, %v after the kill", time.Since(killed).Round(time.Millisecond))
	stop()
	wait.Wait()
	// One more each, so that both have seen the end.
	for c, s := range stores {
		until(t, "a last change is made", func() bool { return !r.write(t.Context(), c, s, write{key: c, value: 900_000 + c}).unknown })
	}
	alike(t, stores[0], stores[1])
	r.asks(t, stores[0])
	r.asks(t, stores[1])
	t.Logf("%d changes made, %d of which nobody knows", made, unknowns)
	r.check(t)
}

// What an Apply takes where nobody else writes.
func TestApplyIsQuickWithALocalAgent(t *testing.T) {
	s := open(t, consultest.Start(t), "quick", "")
	run(t, s)
	grow(t, s, 20)
	var took []time.Duration
	for i := range 500 {
		began := time.Now()
		apply(t, s, "voting", fmt.Sprint(i))
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("an apply takes %v (median), %v (p99), %v at most", took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	if took[len(took)/2] > time.Second {
		t.Error("that is slow")
	}
}
