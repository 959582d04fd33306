package age_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/interceptors/age"
	"github.com/tulle-mesh/tulle/mesh/call"
)

func TestOldStreamEndsOnlyInACrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var crowded atomic.Bool
		var ended atomic.Int32
		w := age.Start(time.Minute, crowded.Load, func() { ended.Add(1) })
		defer w.Stop()
		time.Sleep(10 * time.Minute)
		if ended.Load() != 0 || w.Failure("voting", "10.0.0.7:8080") != nil {
			t.Fatal("a stream ended although streams were spread evenly")
		}
		crowded.Store(true)
		time.Sleep(90*time.Second + time.Millisecond)
		if got := ended.Load(); got != 1 {
			t.Fatalf("a stream in a crowd ended %d times within an age and a half, want once", got)
		}
		if f := w.Failure("voting", "10.0.0.7:8080"); f == nil || f.Reason != call.StreamAge || f.Code != codes.Unavailable {
			t.Errorf("failure %v, want STREAM_AGE, UNAVAILABLE", f)
		}
		time.Sleep(time.Hour)
		if got := ended.Load(); got != 1 {
			t.Errorf("it ended %d times, want once", got)
		}
	})
}

func TestYoungStreamMayBeInACrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Int32
		w := age.Start(time.Minute, func() bool { return true }, func() { ended.Add(1) })
		time.Sleep(time.Minute - time.Millisecond)
		if ended.Load() != 0 {
			t.Error("it ended before it was old")
		}
		w.Stop()
		w.Stop()
		time.Sleep(time.Hour)
		if ended.Load() != 0 {
			t.Error("it ended although nobody watched any more")
		}
	})
}

func TestNoAgeWatchesNothing(t *testing.T) {
	w := age.Start(0, nil, nil)
	w.Stop()
	if w != nil || w.Failure("voting", "") != nil {
		t.Error("a stream without an age is watched")
	}
}
