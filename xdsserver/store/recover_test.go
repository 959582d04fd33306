package store

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// filled returns a directory with 40 objects in a closed store, and their dump.
func filled(t *testing.T) (dir, want string) {
	t.Helper()
	dir = t.TempDir()
	s, _ := open(t, dir)
	pairs := make([]string, 0, 80)
	for i := range 40 {
		pairs = append(pairs, fmt.Sprintf("s%02d", i), fmt.Sprintf("kind: Service # %d %s", i, strings.Repeat("x", 300)))
	}
	apply(t, s, pairs...)
	apply(t, s, "s07", "changed")
	if err := s.SaveEndpoints([]model.Endpoint{endpoint("s07", "i1")}); err != nil {
		t.Fatal(err)
	}
	want = dump(s)
	closeStore(t, s)
	return dir, want
}

func overwrite(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func contentsOf(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// otherProgram is a bbolt database that is not ours.
func otherProgram(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "other.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("theirs"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return contentsOf(t, path)
}

// damages are the ways a database file is found broken.
func damages(t *testing.T, good []byte) map[string][]byte {
	t.Helper()
	flipped := append([]byte(nil), good...)
	flipped[strings.Index(string(flipped), "kind: Service # 20")] ^= 1
	return map[string][]byte{
		// Behind its last page the file may hold space it does not use yet.
		"cut in the last page":       good[:strings.LastIndex(string(good), "kind: Service")],
		"cut to one page":            good[:4096],
		"cut to 100 bytes":           good[:100],
		"text":                       []byte(strings.Repeat("not a database\n", 4000)),
		"zeros":                      make([]byte, len(good)),
		"database of other software": otherProgram(t),
		"one bit of a value flipped": flipped,
	}
}

func TestDamagedDatabaseIsReplacedByItsCopyAndKept(t *testing.T) {
	pristine, want := filled(t)
	good := contentsOf(t, filepath.Join(pristine, mainFile))
	for name, bad := range damages(t, good) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			overwrite(t, filepath.Join(dir, mainFile), bad)
			overwrite(t, filepath.Join(dir, copyFile), contentsOf(t, filepath.Join(pristine, copyFile)))

			s, log := open(t, dir)
			if got := dump(s); got != want {
				t.Errorf("objects differ: got %.200q", got)
			}
			if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), filepath.Join(dir, mainFile)) {
				t.Errorf("the log does not say loudly what happened: %s", log)
			}
			aside, err := filepath.Glob(filepath.Join(dir, mainFile+".corrupt-*"))
			if err != nil || len(aside) != 1 {
				t.Fatalf("the damaged file is not kept: %v, %v", aside, err)
			}
			if got := contentsOf(t, aside[0]); string(got) != string(bad) {
				t.Error("the damaged file was changed")
			}
			apply(t, s, "s00", "new")
			closeStore(t, s)
			again, log := open(t, dir)
			if got := again.Revision(); got != 3 || log.String() != "" {
				t.Errorf("the next start: got revision %d, log %q", got, log)
			}
		})
	}
}

func TestDamagedDatabaseWithoutACopyIsRefusedAndUntouched(t *testing.T) {
	pristine, _ := filled(t)
	good := contentsOf(t, filepath.Join(pristine, mainFile))
	for name, bad := range damages(t, good) {
		for _, copied := range []string{"missing", "damaged"} {
			t.Run(name+", copy "+copied, func(t *testing.T) {
				dir := t.TempDir()
				overwrite(t, filepath.Join(dir, mainFile), bad)
				if copied == "damaged" {
					overwrite(t, filepath.Join(dir, copyFile), []byte("damaged too"))
				}
				_, err := Open(Config{Dir: dir})
				if err == nil {
					t.Fatal("opened")
				}
				if got := contentsOf(t, filepath.Join(dir, mainFile)); string(got) != string(bad) {
					t.Error("the damaged file was changed")
				}
				// What it says to do helps, at once.
				_, advice, _ := strings.Cut(err.Error(), "start with no applied objects: ")
				for step := range strings.SplitSeq(advice, " && ") {
					words := strings.Fields(step)
					if len(words) != 3 || words[0] != "mv" {
						t.Fatalf("error %q does not say what to do", err)
					}
					if err := os.Rename(words[1], words[2]); err != nil {
						t.Fatal(err)
					}
				}
				if s, _ := open(t, dir); dump(s) != "" {
					t.Errorf("started with %q", dump(s))
				}
			})
		}
	}
}

func TestNoFlippedBitIsEverServed(t *testing.T) {
	pristine, want := filled(t)
	good := contentsOf(t, filepath.Join(pristine, mainFile))
	kept := contentsOf(t, filepath.Join(pristine, copyFile))
	for at := 0; at < len(good); at += 512 {
		for _, withCopy := range []bool{true, false} {
			dir := t.TempDir()
			bad := append([]byte(nil), good...)
			// A different byte of each block, and of each field of a page's header.
			bad[at+(at/512*7)%32] ^= 0x10
			overwrite(t, filepath.Join(dir, mainFile), bad)
			if withCopy {
				overwrite(t, filepath.Join(dir, copyFile), kept)
			}
			s, err := Open(Config{Dir: dir, Logger: quiet})
			if err != nil {
				if withCopy {
					t.Errorf("flip in block %d: %v", at, err)
				}
				continue
			}
			// Without the copy, bbolt's older meta page is all that is left of the
			// newer: a whole earlier state, which the copy exists to catch.
			if got := dump(s); got != want && (withCopy || s.Revision() == 2) {
				t.Errorf("flip in block %d, copy %t: served at revision %d: %.100q", at, withCopy, s.Revision(), got)
			}
			if at/512%8 != 0 { // writing is slow, and does not depend on the block
				closeStore(t, s)
				continue
			}
			apply(t, s, "s01", "after the flip")
			closeStore(t, s)
			after, err := Open(Config{Dir: dir, Logger: quiet})
			if err != nil {
				t.Fatalf("flip in block %d: after a write: %v", at, err)
			}
			if !strings.Contains(dump(after), "s01=after the flip") {
				t.Errorf("flip in block %d: the write was lost", at)
			}
			closeStore(t, after)
		}
	}
}

func TestDatabaseThatWentBackIsReplacedByItsNewerCopy(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	apply(t, s, "voting", "v1")
	older := contentsOf(t, filepath.Join(dir, mainFile))
	apply(t, s, "voting", "v2")
	closeStore(t, s)
	overwrite(t, filepath.Join(dir, mainFile), older)

	again, log := open(t, dir)
	if got := dump(again); got != "voting=v2" {
		t.Errorf("got %q", got)
	}
	if !strings.Contains(again.recovered, "remove "+filepath.Join(dir, copyFile)) || !strings.Contains(log.String(), "revision 1") {
		t.Errorf("got %q, log %s", again.recovered, log)
	}
}

func TestMissingDatabaseIsReplacedByItsCopy(t *testing.T) {
	for name, lose := range map[string]func(path string) error{
		"removed":        os.Remove,
		"cut to nothing": func(path string) error { return os.Truncate(path, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, want := filled(t)
			if err := lose(filepath.Join(dir, mainFile)); err != nil {
				t.Fatal(err)
			}
			s, log := open(t, dir)
			if got := dump(s); got != want {
				t.Errorf("got %.100q", got)
			}
			if !strings.Contains(log.String(), "is gone") {
				t.Errorf("log: %s", log)
			}
		})
	}
}

func TestDatabaseOfANewerXdsserverIsRefusedAndUntouched(t *testing.T) {
	dir, _ := filled(t)
	path := filepath.Join(dir, mainFile)
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(stateRecord{Schema: schema + 1})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(metaBucket).Put(stateKey, seal(stateKey, payload))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	want := contentsOf(t, path)
	_, err = Open(Config{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "schema 2") || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	if got := contentsOf(t, path); string(got) != string(want) {
		t.Error("the database was changed")
	}
}

func TestDatabaseCutWhileOpenCostsNothing(t *testing.T) {
	dir, want := filled(t)
	s, _ := open(t, dir)
	apply(t, s, "s08", "x")
	if err := os.Truncate(filepath.Join(dir, mainFile), 0); err != nil {
		t.Fatal(err)
	}
	if got := dump(s); got == want {
		t.Error("the write before is missing")
	}
	// The first write may find the damage; the next one writes a new file.
	_, _ = s.Apply(t.Context(), changes("s09", "y"), Intent{})
	apply(t, s, "s09", "z")
	if got := dump(s); !strings.Contains(got, "s08=x s09=z") {
		t.Errorf("got %.200q", got)
	}
	closeStore(t, s)
	again, _ := open(t, dir)
	if got := dump(again); !strings.Contains(got, "s08=x s09=z") {
		t.Errorf("after reopening: got %.200q", got)
	}
}

func TestDamagedEndpointsDoNotStopAStart(t *testing.T) {
	dir, want := filled(t)
	path := filepath.Join(dir, mainFile)
	b := contentsOf(t, path)
	// The record lies in a page of the newest transaction, perhaps also in older ones.
	damaged := strings.ReplaceAll(string(b), `"instance":"i1"`, `"instance":"i2"`)
	overwrite(t, path, []byte(damaged))
	s, log := open(t, dir)
	if got := dump(s); got != want {
		t.Errorf("got %.100q", got)
	}
	if got, err := s.LoadEndpoints(); len(got) != 0 || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	if !strings.Contains(log.String(), "lost=1") {
		t.Errorf("log: %s", log)
	}
}
