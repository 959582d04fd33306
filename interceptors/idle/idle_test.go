package idle_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/interceptors/idle"
	"github.com/tulle-mesh/tulle/mesh/call"
)

func TestWatchExpires(t *testing.T) {
	for _, tt := range []struct {
		name    string
		touches []time.Duration // since the start
		want    time.Duration
	}{
		{"when no message ever passed", nil, 10 * time.Second},
		{"that long after the last message", []time.Duration{3 * time.Second, 9999 * time.Millisecond, 15 * time.Second}, 25 * time.Second},
		{"however many there were at once", []time.Duration{time.Second, time.Second, time.Second}, 11 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var expired atomic.Int32
				start := time.Now()
				w := idle.Start(10*time.Second, func() { expired.Add(1) })
				defer w.Stop()
				for _, at := range tt.touches {
					time.Sleep(time.Until(start.Add(at)))
					w.Touch()
				}
				time.Sleep(time.Until(start.Add(tt.want - 1)))
				synctest.Wait()
				if expired.Load() != 0 || w.Failure("voting", "/v.V/Watch") != nil {
					t.Fatal("expired a moment too soon")
				}
				time.Sleep(1 * time.Nanosecond)
				synctest.Wait()
				failure := w.Failure("voting", "/v.V/Watch")
				if expired.Load() != 1 || failure == nil || failure.Code != codes.DeadlineExceeded || failure.Reason != call.StreamIdle {
					t.Fatalf("not expired in time: %v", failure)
				}
				w.Touch()
				time.Sleep(time.Minute)
				synctest.Wait()
				if expired.Load() != 1 {
					t.Errorf("expired %d times", expired.Load())
				}
			})
		})
	}
}

func TestWatchThatIsStoppedDoesNotExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := idle.Start(time.Second, func() { t.Error("expired") })
		time.Sleep(900 * time.Millisecond)
		w.Touch()
		time.Sleep(900 * time.Millisecond) // the timer went off once by now, and was set again
		w.Stop()
		w.Stop()
		time.Sleep(time.Minute)
	})
}

func TestNoTimeoutIsNoWatch(t *testing.T) {
	w := idle.Start(0, func() { t.Error("expired") })
	w.Touch()
	w.Stop()
	if w != nil || w.Failure("", "") != nil {
		t.Error("a stream that may be idle for ever is watched")
	}
}

func BenchmarkTouch(b *testing.B) {
	w := idle.Start(time.Hour, func() {})
	defer w.Stop()
	b.ReportAllocs()
	for b.Loop() {
		w.Touch()
	}
}
