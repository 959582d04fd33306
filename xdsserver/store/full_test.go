package store

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func TestFailedWriteChangesNothingAndTheNextMaySucceed(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
		t.Run(cause.Error(), func(t *testing.T) {
			dir := t.TempDir()
			s, _ := open(t, dir)
			apply(t, s, "voting", "v1")

			s.commit = func(tx *bbolt.Tx) error { return errors.Join(cause, tx.Rollback()) }
			revision, err := s.Apply(context.Background(), changes("voting", "v2"), Intent{})
			if !errors.Is(err, cause) || revision != 1 {
				t.Fatalf("got %d, %v", revision, err)
			}
			for _, want := range []string{s.path(mainFile), "nothing was applied"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if err := s.SaveEndpoints([]model.Endpoint{endpoint("voting", "i1")}); !errors.Is(err, cause) {
				t.Errorf("save: got %v", err)
			}
			if got := dump(s); got != "voting=v1" {
				t.Errorf("reads: got %q", got)
			}
			if got := s.Status().Problem; !strings.Contains(got, cause.Error()) {
				t.Errorf("status: got %q", got)
			}

			s.commit = (*bbolt.Tx).Commit
			if got := apply(t, s, "voting", "v3"); got != 2 {
				t.Errorf("after it: got revision %d", got)
			}
			if got := s.Status(); got.Problem != "" || runtime.GOOS == "linux" && got.FreeBytes == 0 {
				t.Errorf("status after it: got %+v", got)
			}
			again, _ := open(t, crash(t, s))
			if got := dump(again); got != "voting=v3" {
				t.Errorf("after reopening: got %q", got)
			}
		})
	}
}

func TestCopyThatCannotBeWrittenIsAWarning(t *testing.T) {
	s, log := open(t, t.TempDir())
	apply(t, s, "voting", "v1")
	commits := 0
	s.commit = func(tx *bbolt.Tx) error {
		if commits++; commits == 2 { // the first is the database
			return errors.Join(syscall.ENOSPC, tx.Rollback())
		}
		return tx.Commit()
	}
	apply(t, s, "voting", "v2")
	if !strings.Contains(log.String(), "copy of the database not written") {
		t.Errorf("log: %s", log)
	}
	again, _ := open(t, crash(t, s))
	if got := dump(again); got != "voting=v2" {
		t.Errorf("the copy, now older, was used: got %q", got)
	}
}
