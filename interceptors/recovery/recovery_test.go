package recovery_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/interceptors/recovery"
	"github.com/tulle-mesh/tulle/mesh/call"
)

// run runs a handler as an interceptor does.
func run(r *recovery.Recovery, now time.Time, handler func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = r.Panicked("/voting.v1.Voting/Vote", v, now)
		}
	}()
	handler()
	return nil
}

func newLogged() (*recovery.Recovery, *bytes.Buffer) {
	var log bytes.Buffer
	return recovery.New("voting", slog.New(slog.NewTextHandler(&log, nil))), &log
}

func TestAPanicEndsTheCall(t *testing.T) {
	var none *strings.Builder
	var empty []int
	for _, tt := range []struct {
		name    string
		handler func()
		logged  string
	}{
		{"a panic with a text", func() { panic("the secret") }, `panic="the secret"`},
		{"a panic with an error", func() { panic(errors.New("the secret")) }, `panic="the secret"`},
		{"a panic with nothing", func() { panic(nil) }, "panic called with nil argument"},
		{"a nil pointer", func() { none.WriteByte(1) }, "nil pointer dereference"},
		{"an index out of range", func() { _ = empty[7%(len(empty)+2)] }, "index out of range"},
		{"a value whose text panics", func() { panic(angry{}) }, "PANIC=String method: the secret"},
		{"a value of many words", func() { panic(strings.Repeat("the secret ", 1000)) }, "..."},
	} {
		r, log := newLogged()
		err := run(r, time.Now(), tt.handler)
		e := call.AsError(err)
		if e == nil || e.Reason != call.Panicked || e.Code != codes.Internal {
			t.Errorf("%s: got %v", tt.name, err)
			continue
		}
		want := "mesh: the handler of /voting.v1.Voting/Vote panicked; try: the log of voting, which has the stack"
		if e.Error() != want || len(e.GRPCStatus().Message()) > len(want) {
			t.Errorf("%s: the caller is told %q, want %q", tt.name, e.Error(), want)
		}
		for _, want := range []string{tt.logged, "recovery_test.go:", "service=voting", "panics=1", "stack="} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s: the log lacks %q: %s", tt.name, want, log)
			}
		}
		if log.Len() > 20<<10 {
			t.Errorf("%s: %d bytes are logged", tt.name, log.Len())
		}
		if r.Count() != 1 {
			t.Errorf("%s: %d are counted", tt.name, r.Count())
		}
	}
	r, log := newLogged()
	if err := run(r, time.Now(), func() {}); err != nil || r.Count() != 0 || log.Len() > 0 {
		t.Errorf("without a panic: %v, %d counted, logged %q", err, r.Count(), log)
	}
}

type angry struct{}

func (angry) String() string { panic("the secret") }

func TestAPlaceIsLoggedOnceAMinute(t *testing.T) {
	r, log := newLogged()
	now := time.Unix(0, 0)
	here := func() { panic("here") }
	there := func() { panic("there") }
	for _, tt := range []struct {
		name    string
		after   time.Duration
		handler func()
		want    string // empty for nothing
	}{
		{"the first is logged at once", 0, here, "panics=1"},
		{"the next is not", time.Second, here, ""},
		{"another place is", 0, there, "panics=1"},
		{"nor is the last of the minute", 59*time.Second - 1, here, ""},
		{"after a minute one is, for all", 1, here, "panics=3"},
	} {
		log.Reset()
		now = now.Add(tt.after)
		_ = run(r, now, tt.handler)
		if got := log.String(); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: logged %q, want %q", tt.name, got, tt.want)
		}
	}
	if r.Count() != 5 {
		t.Errorf("%d are counted", r.Count())
	}
}

func TestPlacesAreBounded(t *testing.T) {
	r, log := newLogged()
	now := time.Unix(0, 0)
	for i := range 1000 {
		_ = r.Exited(fmt.Sprintf("/voting.v1.Voting/Method%d", i), now)
	}
	if lines := strings.Count(log.String(), "\n"); lines != 101 {
		t.Errorf("%d lines, want one for each of a hundred places and one for the others", lines)
	}
}

func TestExited(t *testing.T) {
	r, log := newLogged()
	e := r.Exited("/voting.v1.Voting/Vote", time.Now())
	if e.Code != codes.Internal || e.Reason != call.Panicked || r.Count() != 1 || !strings.Contains(log.String(), "handler ended its goroutine") {
		t.Errorf("got %v, logged %q", e, log)
	}
}
