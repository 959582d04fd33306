package store

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/bbolt"
)

// set makes a change that sets a record.
func set(record string) func([]byte) ([]byte, error) {
	return func([]byte) ([]byte, error) { return []byte(record), nil }
}

func update(t *testing.T, s *Store, id, record string) {
	t.Helper()
	if err := s.UpdateToken(id, set(record)); err != nil {
		t.Fatal(err)
	}
}

func tokens(t *testing.T, s *Store) map[string]string {
	t.Helper()
	all, err := s.Tokens()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for id, record := range all {
		out[id] = string(record)
	}
	return out
}

func TestTokenThatWasUpdatedIsThereAfterACrash(t *testing.T) {
	s, _ := open(t, t.TempDir())
	update(t, s, "a", "one")
	update(t, s, "b", "two")
	apply(t, s, "voting", "v")
	if err := s.UpdateToken("b", func(old []byte) ([]byte, error) { return append(old, "!"...), nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.UpdateToken("a", func([]byte) ([]byte, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	again, _ := open(t, crash(t, s))
	if got := tokens(t, again); len(got) != 1 || got["b"] != "two!" {
		t.Errorf("got %v, want b as two!", got)
	}
	if again.Revision() != 1 {
		t.Errorf("revision %d: tokens are no objects", again.Revision())
	}
}

// What was used up stays used up, whichever file is damaged next.
func TestUsedTokenIsNotValidAgainAfterDamage(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, dir, before string){
		"the database is damaged": func(t *testing.T, dir, _ string) {
			overwrite(t, filepath.Join(dir, mainFile), []byte(strings.Repeat("damaged", 10_000)))
		},
		"the database went back": func(t *testing.T, dir, before string) {
			overwrite(t, filepath.Join(dir, mainFile), contentsOf(t, filepath.Join(before, mainFile)))
		},
		"the copy is damaged": func(t *testing.T, dir, _ string) {
			overwrite(t, filepath.Join(dir, copyFile), []byte("damaged"))
		},
		"the copy went back": func(t *testing.T, dir, before string) {
			overwrite(t, filepath.Join(dir, copyFile), contentsOf(t, filepath.Join(before, copyFile)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := open(t, t.TempDir())
			update(t, s, "a", "fresh")
			before := crash(t, s)
			update(t, s, "a", "used")
			dir := crash(t, s)
			lose(t, dir, before)
			again, _ := open(t, dir)
			if got := tokens(t, again); got["a"] != "used" {
				t.Errorf("got %v, want a as used", got)
			}
		})
	}
}

// A redemption that ended between the database and the copy was not acknowledged. The
// one that comes again finds its record there, and is acknowledged only when the copy
// has it, too: or the first damage of the database would make the token new.
func TestTokenThatIsThereAlreadyIsAcknowledgedWithItsCopyOnly(t *testing.T) {
	for name, again := range map[string]func(t *testing.T, s *Store) *Store{
		"in the same process": func(_ *testing.T, s *Store) *Store { return s },
		"after a crash": func(t *testing.T, s *Store) *Store {
			next, _ := open(t, crash(t, s))
			return next
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := open(t, t.TempDir())
			update(t, s, "a", "fresh")
			commits := 0
			s.commit = func(tx *bbolt.Tx) error {
				if commits++; commits > 1 {
					return errors.Join(errors.New("disk full"), tx.Rollback())
				}
				return tx.Commit()
			}
			if err := s.UpdateToken("a", set("used")); err == nil || !strings.Contains(err.Error(), s.path(copyFile)) {
				t.Fatalf("without its copy: %v, want an error that names it", err)
			}
			if err := s.UpdateToken("a", set("used")); err == nil {
				t.Error("acknowledged, and the copy has it still as fresh")
			}
			s = again(t, s)
			s.commit = (*bbolt.Tx).Commit
			update(t, s, "a", "used")
			dir := crash(t, s)
			overwrite(t, filepath.Join(dir, mainFile), []byte("damaged"))
			left, _ := open(t, dir)
			if got := tokens(t, left); got["a"] != "used" {
				t.Errorf("got %v, want a as used", got)
			}
		})
	}
}

// A page of an earlier transaction holds records that are sound, each by itself.
func TestTokensThatDoNotAddUpAreDamage(t *testing.T) {
	for name, change := range map[string]func(b *bbolt.Bucket) error{
		"one is as it was before": func(b *bbolt.Bucket) error { return b.Put([]byte("a"), seal([]byte("a"), []byte("fresh"))) },
		"one is gone":             func(b *bbolt.Bucket) error { return b.Delete([]byte("a")) },
		"one is damaged":          func(b *bbolt.Bucket) error { return b.Put([]byte("a"), []byte("damaged")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, _ := open(t, dir)
			update(t, s, "a", "used")
			closeStore(t, s)
			db, err := bbolt.Open(filepath.Join(dir, mainFile), 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Update(func(tx *bbolt.Tx) error { return change(tx.Bucket(tokensBucket)) }); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			again, log := open(t, dir)
			if got := tokens(t, again); got["a"] != "used" || !strings.Contains(log.String(), "level=ERROR") {
				t.Errorf("got %v, log %s", got, log)
			}
		})
	}
}

func TestCopyThatIsGoneIsWrittenBeforeATokenIsAcknowledged(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	update(t, s, "a", "used")
	closeStore(t, s)
	overwrite(t, filepath.Join(dir, copyFile), []byte("damaged"))
	s, _ = open(t, dir)
	update(t, s, "a", "used")
	kept, _, err := read(s.path(copyFile))
	if err != nil || string(kept.tokens["a"]) != "used" {
		t.Errorf("the copy has %q, %v", kept.tokens["a"], err)
	}
}

// A flip anywhere is found, or changes nothing that is served.
func TestNoFlippedBitMakesATokenNew(t *testing.T) {
	pristine := t.TempDir()
	s, _ := open(t, pristine)
	for _, id := range []string{"a", "b", "c"} {
		update(t, s, id, "fresh "+strings.Repeat("x", 500))
	}
	update(t, s, "b", "used "+strings.Repeat("x", 500))
	closeStore(t, s)
	good, kept := contentsOf(t, filepath.Join(pristine, mainFile)), contentsOf(t, filepath.Join(pristine, copyFile))
	for at := 0; at < len(good); at += 512 {
		dir := t.TempDir()
		bad := append([]byte(nil), good...)
		bad[at+(at/512*7)%32] ^= 0x10
		overwrite(t, filepath.Join(dir, mainFile), bad)
		overwrite(t, filepath.Join(dir, copyFile), kept)
		s, err := Open(Config{Dir: dir, Logger: quiet})
		if err != nil {
			t.Errorf("flip in block %d: %v", at, err)
			continue
		}
		if got := tokens(t, s); len(got) != 3 || !strings.HasPrefix(got["b"], "used") {
			t.Errorf("flip in block %d: served as %.40v", at, got)
		}
		closeStore(t, s)
	}
}

func TestTokenUpdatesTakeTurns(t *testing.T) {
	s, _ := open(t, t.TempDir())
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if err := s.UpdateToken("a", func(old []byte) ([]byte, error) { return append(old, 'x'), nil }); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if got := tokens(t, s); len(got["a"]) != 20 {
		t.Errorf("%d of 20 updates are there", len(got["a"]))
	}
}

func TestUpdateTokenThatFailsChangesNothing(t *testing.T) {
	s, _ := open(t, t.TempDir())
	update(t, s, "a", "one")
	refused := errors.New("refused")
	if err := s.UpdateToken("a", func([]byte) ([]byte, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("got %v, want the error of the change", err)
	}
	for name, test := range map[string]struct {
		id, record, want string
	}{
		"no id":          {"", "x", "want 1 to 64"},
		"a long id":      {strings.Repeat("i", 65), "x", "want 1 to 64"},
		"a large record": {"b", strings.Repeat("x", maxTokenSize+1), "are the most"},
	} {
		if err := s.UpdateToken(test.id, set(test.record)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.want)
		}
	}
	s.commit = func(tx *bbolt.Tx) error { return errors.Join(errors.New("disk gone"), tx.Rollback()) }
	if err := s.UpdateToken("a", set("two")); err == nil {
		t.Error("a write that failed is acknowledged")
	}
	if got := tokens(t, s); len(got) != 1 || got["a"] != "one" {
		t.Errorf("got %v, want a as one", got)
	}
	s.commit = (*bbolt.Tx).Commit
	update(t, s, "a", "three")
	closeStore(t, s)
	if err := s.UpdateToken("a", set("four")); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v after Close, want ErrClosed", err)
	}
}

// A database from before there were tokens opens, and takes them.
func TestDatabaseWithoutTokensOpens(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	apply(t, s, "voting", "v")
	closeStore(t, s)
	for _, file := range []string{mainFile, copyFile} {
		db, err := bbolt.Open(filepath.Join(dir, file), 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(tokensBucket) }); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	again, _ := open(t, dir)
	update(t, again, "a", "one")
	third, _ := open(t, crash(t, again))
	if got := tokens(t, third); got["a"] != "one" || third.Revision() != 1 {
		t.Errorf("got %v at revision %d", got, third.Revision())
	}
}
