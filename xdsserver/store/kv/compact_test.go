package kv

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

func TestLogIsShortenedWhileChangesAreMade(t *testing.T) {
	agent := consultest.Start(t)
	s, other, behind := open(t, agent, "short", ""), open(t, agent, "short", ""), open(t, agent, "short", "")
	o := run(t, s)
	run(t, other)
	apply(t, behind, "first", "1")
	var wait sync.WaitGroup
	for i, each := range []rig{s, other} {
		for c := range 4 {
			wait.Go(func() {
				for n := range 150 {
					apply(t, each, fmt.Sprint("w", i, c), fmt.Sprint(n))
				}
			})
		}
	}
	made := make(chan struct{})
	go func() {
		wait.Wait()
		close(made)
	}()
	var old consul.Fence
	leading(t, s.client, func(f consul.Fence) {
		old = f
		for running := true; running; {
			select {
			case <-made:
				running = false
			default:
			}
			if err := s.Compact(t.Context(), f); err != nil {
				t.Error(err)
			}
			// Who starts in the middle of it sees a whole log.
			at := s.Revision()
			if again := open(t, agent, "short", ""); again.Revision() < at {
				t.Errorf("a start saw revision %d after %d", again.Revision(), at)
			}
		}
	})
	alike(t, s, other)
	if got := s.Revision(); got != 1201 {
		t.Errorf("got revision %d, want 1201", got)
	}
	r := raw{t, agent.Client(t).KV(), "short"}
	if got := len(r.keys(revisionsBelow)); got < keptLog || got > maxLog+1 {
		t.Errorf("%d revisions are left in the log", got)
	}
	if got := r.keys(snapshotsBelow); len(got) != 2 {
		t.Errorf("snapshots: %v", got)
	}
	again := open(t, agent, "short", "")
	if len(again.History()) != keptLog || !cmp.Equal(again.History(), s.History()) {
		t.Errorf("the history has %d revisions, want the last %d", len(again.History()), keptLog)
	}
	// Who knew the first revision alone, and of whose next one there is nothing left.
	if got := apply(t, behind, "last", "1"); got != 1202 {
		t.Errorf("got revision %d", got)
	}
	until(t, "it is emitted", func() bool { return o.get().Generation == 1202 && o.get().Err == nil })
	if slices.ContainsFunc(o.get().Problems, gone("")) || behind.view.Load().went != "" {
		t.Errorf("it is taken for going back: %v, %q", o.get().Problems, behind.view.Load().went)
	}
	grow(t, s, maxLog)
	if err := s.Compact(t.Context(), old); !errors.Is(err, consul.ErrConflict) {
		t.Errorf("who leads no more: got %v", err)
	}
}

func TestWhatNobodyNeedsIsRemoved(t *testing.T) {
	agent := consultest.Start(t)
	r := raw{t, agent.Client(t).KV(), "orphans"}
	s := open(t, agent, "orphans", "")
	if _, err := s.Apply(t.Context(), large(t, 3000), store.Intent{}); err != nil {
		t.Fatal(err)
	}
	named := r.keys(partsBelow)
	if len(named) < 2 {
		t.Fatalf("the change is not in parts: %v", named)
	}
	young, old := partKey(newID(time.Now()), 0), partKey(newID(time.Now().Add(-2*orphanedAfter)), 0)
	for _, key := range []string{young, old, snapshotKey(7, 0)} {
		r.put(key, []byte("x"))
	}
	leading(t, s.client, func(f consul.Fence) {
		if err := s.Compact(t.Context(), f); err != nil {
			t.Error(err)
		}
	})
	want := slices.Sorted(slices.Values(append(named, young)))
	if diff := cmp.Diff(want, r.keys(partsBelow)); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	if got := r.keys(snapshotsBelow); len(got) != 1 {
		t.Errorf("snapshots: %v", got)
	}
	// A log whose beginning is in parts comes back from a snapshot in parts.
	grow(t, s, maxLog+1)
	leading(t, s.client, func(f consul.Fence) {
		if err := s.Compact(t.Context(), f); err != nil {
			t.Error(err)
		}
	})
	if got := r.keys(snapshotsBelow); len(got) < 3 {
		t.Errorf("snapshots: %v", got)
	}
	if again := open(t, agent, "orphans", ""); dump(again) != dump(s) {
		t.Error("another store has other objects")
	}
}

func TestManyObjectsAreOneApply(t *testing.T) {
	agent := consultest.Start(t)
	s, other := open(t, agent, "many", ""), open(t, agent, "many", "")
	o := run(t, other)
	all := large(t, 5000)
	size := 0
	for _, c := range all {
		size += len(c.YAML)
	}
	began := time.Now()
	if _, err := s.Apply(t.Context(), all, store.Intent{By: "ann"}); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	until(t, "the other has it", func() bool { return o.get().Generation == 1 })
	t.Logf("5,000 objects of %d KiB, in %d parts: applied in %v, with another store after %v",
		size>>10, len(raw{t, agent.Client(t).KV(), "many"}.keys(partsBelow)), took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	if dump(other) != dump(s) || len(s.History()[0].Changes) != 5000 {
		t.Error("they differ")
	}
	began = time.Now()
	again := open(t, agent, "many", "")
	t.Logf("read by a start in %v", time.Since(began).Round(time.Millisecond))
	if dump(again) != dump(s) {
		t.Error("a start sees others")
	}
	// What cannot be is refused before anything is written.
	_, err := s.Apply(t.Context(), []store.Change{{Ref: service("huge"), YAML: bytes.Repeat([]byte("x"), maxUnpacked+1)}}, store.Intent{})
	if err == nil || s.Revision() != 1 {
		t.Errorf("a change that is too large: %v", err)
	}
}
