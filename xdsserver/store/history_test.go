package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// told is a history as "revision by: name before>after, ..." lines.
func told(s *Store) []string {
	var out []string
	for _, r := range s.History() {
		words := make([]string, 0, len(r.Changes))
		for _, c := range r.Changes {
			words = append(words, fmt.Sprintf("%s %s>%s", c.Ref.Name, c.Before, c.After))
		}
		out = append(out, fmt.Sprintf("%d %s: %s", r.Revision, r.By, strings.Join(words, ", ")))
	}
	return out
}

func applyBy(t *testing.T, s *Store, by string, pairs ...string) {
	t.Helper()
	if _, err := s.Apply(context.Background(), changes(pairs...), Intent{By: by}); err != nil {
		t.Fatal(err)
	}
}

// lived is a store with four revisions, and its history.
func lived(t *testing.T) (s *Store, want []string) {
	t.Helper()
	s, _ = open(t, t.TempDir())
	applyBy(t, s, "ann", "voting", "v1", "emoji", "e1")
	applyBy(t, s, "bob", "voting", "v2", "web", "w1")
	applyBy(t, s, "ann", "emoji", "")
	applyBy(t, s, "eve", "emoji", "e2", "voting", "")
	return s, []string{
		"4 eve: emoji >e2, voting v2>",
		"3 ann: emoji e1>",
		"2 bob: voting v1>v2, web >w1",
		"1 ann: emoji >e1, voting >v1",
	}
}

func TestHistorySaysWhoChangedWhat(t *testing.T) {
	s, want := lived(t)
	if diff := cmp.Diff(want, told(s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	again, _ := open(t, crash(t, s))
	if diff := cmp.Diff(want, told(again)); diff != "" {
		t.Errorf("after a crash (-want +got):\n%s", diff)
	}
	if again.History()[0].At.IsZero() {
		t.Error("it does not say when")
	}
	if _, err := again.Apply(context.Background(), changes("web", "w1"), Intent{By: "nobody"}); err != nil || len(again.History()) != 4 {
		t.Errorf("a change that changes nothing is one of %d revisions, %v", len(again.History()), err)
	}
}

func TestObjectsGoBackToAnyRevisionThatIsKept(t *testing.T) {
	at := []string{"", "emoji=e1 voting=v1", "emoji=e1 voting=v2 web=w1", "voting=v2 web=w1", "emoji=e2 web=w1"}
	for revision, want := range at {
		t.Run(fmt.Sprint("to revision ", revision), func(t *testing.T) {
			s, _ := lived(t)
			back, from, ok := s.Back(uint64(revision))
			if !ok || from != 4 {
				t.Fatalf("got %v from %d, want from 4", ok, from)
			}
			if _, err := s.Apply(context.Background(), back, Intent{IfRevision: from}); err != nil {
				t.Fatal(err)
			}
			if got := dump(s); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			// And forth again.
			back, from, ok = s.Back(4)
			if !ok {
				t.Fatal("the way forth is not kept")
			}
			if _, err := s.Apply(context.Background(), back, Intent{IfRevision: from}); err != nil || dump(s) != at[4] {
				t.Errorf("got %q, %v, want %q", dump(s), err, at[4])
			}
		})
	}
	s, _ := lived(t)
	if _, _, ok := s.Back(5); ok {
		t.Error("it goes back to a revision that was never there")
	}
}

func TestHistoryIsBounded(t *testing.T) {
	t.Run("in revisions", func(t *testing.T) {
		s := new(State)
		for i := range maxHistory + 5 {
			var err error
			if s, err = s.Apply(changes("voting", fmt.Sprint(i)), strings.Repeat("ä", 200), time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		history := s.history
		if len(history) != maxHistory || history[0].revision != 6 {
			t.Errorf("got %d from %d, want %d from 6", len(history), history[0].revision, maxHistory)
		}
		if _, err := decodePast(history[0].payload); err != nil {
			t.Error(err)
		}
	})
	t.Run("in bytes", func(t *testing.T) {
		s, _ := open(t, t.TempDir())
		for i := range 4 {
			apply(t, s, "voting", strings.Repeat(fmt.Sprint(i), maxHistorySize/3))
		}
		if got := len(s.History()); got != 2 {
			t.Errorf("got %d revisions, want the two that fit", got)
		}
		if _, _, ok := s.Back(1); ok {
			t.Error("it goes back further than its history")
		}
		if back, _, ok := s.Back(2); !ok || len(back) != 1 || back[0].YAML[0] != '1' {
			t.Errorf("it does not go back as far as its history: %v", ok)
		}
		apply(t, s, "voting", strings.Repeat("x", maxHistorySize+1))
		apply(t, s, "voting", "small")
		if got := s.History(); len(got) != 0 {
			t.Errorf("a change that is larger than all of the history is in it, with %d", len(got))
		}
		apply(t, s, "voting", "next")
		again, log := open(t, crash(t, s))
		if got := told(again); len(got) != 1 || got[0] != "7 : voting small>next" {
			t.Errorf("got %v, log %s", got, log)
		}
	})
}

// damagePast changes the history of a closed store's database.
func damagePast(t *testing.T, path string, change func(b *bbolt.Bucket) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error { return change(tx.Bucket(historyBucket)) }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// History that cannot be believed is never shown, costs no object, and comes from the
// copy where that has it.
func TestDamagedHistoryIsTakenFromTheCopyOrLeftOut(t *testing.T) {
	for name, test := range map[string]struct {
		change func(b *bbolt.Bucket) error
		left   int
	}{
		"one bit is flipped": {func(b *bbolt.Bucket) error {
			record := append([]byte(nil), b.Get(historyKey(2))...)
			record[len(record)-3] ^= 1
			return b.Put(historyKey(2), record)
		}, 2},
		"one is under another's key": {func(b *bbolt.Bucket) error { return b.Put(historyKey(2), b.Get(historyKey(1))) }, 2},
		"one is missing":             {func(b *bbolt.Bucket) error { return b.Delete(historyKey(3)) }, 1},
		"the last is missing":        {func(b *bbolt.Bucket) error { return b.Delete(historyKey(4)) }, 0},
		"one is of the future": {func(b *bbolt.Bucket) error {
			return b.Put(historyKey(5), seal(historyKey(5), []byte(`{"changes":[]}`)))
		}, 0},
		"one has a key of another kind": {func(b *bbolt.Bucket) error {
			return b.Put([]byte("x"), seal([]byte("x"), []byte(`{"changes":[]}`)))
		}, 0},
		"one says what cannot be": {func(b *bbolt.Bucket) error {
			return b.Put(historyKey(3), seal(historyKey(3), []byte(`{"changes":[{"key":"no key"}]}`)))
		}, 1},
	} {
		for _, copied := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", with a good copy ", copied), func(t *testing.T) {
				s, want := lived(t)
				objects, dir := dump(s), s.dir
				closeStore(t, s)
				damagePast(t, filepath.Join(dir, mainFile), test.change)
				if !copied {
					damagePast(t, filepath.Join(dir, copyFile), test.change)
					want = want[:test.left]
				}
				again, log := open(t, dir)
				if diff := cmp.Diff(want, told(again)); diff != "" && len(want)+len(told(again)) > 0 {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if got := dump(again); got != objects {
					t.Errorf("objects: got %q, want %q", got, objects)
				}
				if !strings.Contains(log.String(), "history of changes is damaged") {
					t.Errorf("the log does not say so: %s", log)
				}
				// The next change makes it whole.
				applyBy(t, again, "ann", "web", "w2")
				closeStore(t, again)
				last, log := open(t, dir)
				if got := len(last.History()); got != len(want)+1 || log.String() != "" {
					t.Errorf("after the next change: %d revisions, log %q", got, log)
				}
			})
		}
	}
}

func TestDatabaseWithoutHistoryBeginsOne(t *testing.T) {
	s, _ := lived(t)
	dir := s.dir
	closeStore(t, s)
	for _, file := range []string{mainFile, copyFile} {
		db, err := bbolt.Open(filepath.Join(dir, file), 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(historyBucket) }); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	again, log := open(t, dir)
	if len(again.History()) != 0 || log.String() != "" {
		t.Errorf("got %v, log %q, want none and no word", told(again), log)
	}
	applyBy(t, again, "ann", "web", "w2")
	if got := told(again); len(got) != 1 || got[0] != "5 ann: web w1>w2" {
		t.Errorf("got %v", got)
	}
}

func TestChangeThatIsNotOnDiskIsNotInTheHistory(t *testing.T) {
	s, want := lived(t)
	s.commit = func(tx *bbolt.Tx) error { return errors.Join(errors.New("disk full"), tx.Rollback()) }
	if _, err := s.Apply(context.Background(), changes("web", "w2"), Intent{By: "ann"}); err == nil {
		t.Fatal("acknowledged")
	}
	if diff := cmp.Diff(want, told(s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.commit = (*bbolt.Tx).Commit
	applyBy(t, s, "ann", "web", "w2")
	if got := told(s); len(got) != 5 || got[0] != "5 ann: web w1>w2" {
		t.Errorf("got %v", got)
	}
}

func FuzzDecodePast(f *testing.F) {
	f.Add([]byte(`{"at":"2026-01-01T00:00:00Z","by":"ann","changes":[{"key":"Service/default/voting","before":"x"},{"key":"Service/default/web"}]}`))
	f.Add([]byte(`{"changes":[{"key":"///"}]}`))
	f.Add([]byte(`{"changes":null}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		p, err := decodePast(payload)
		if err != nil {
			return
		}
		objects := map[string][]byte{"Service/default/voting": []byte("now")}
		p.undo(objects)
		for key := range objects {
			if _, err := parseKey(key); err != nil {
				t.Error(err)
			}
		}
	})
}
