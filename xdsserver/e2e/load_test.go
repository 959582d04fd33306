package e2e

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
)

// A load is calls at a steady rate, with every failure kept.
type load struct {
	calls, failed atomic.Int64
	first         atomic.Pointer[error] // the first failure
	cancel        context.CancelFunc
	wait          sync.WaitGroup
}

// startLoad calls rps times a second until it is stopped.
func startLoad(t *testing.T, cc grpc.ClientConnInterface, rps int) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	turns := make(chan struct{}, rps)
	l.wait.Go(func() {
		defer close(turns)
		tick := time.NewTicker(time.Second / time.Duration(rps))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				select {
				case turns <- struct{}{}:
				default: // every caller is busy: the calls already show it
				}
			}
		}
	})
	for range 16 {
		l.wait.Go(func() {
			for range turns {
				l.call(cc)
			}
		})
	}
	t.Cleanup(func() { l.stop() })
	return l
}

func (l *load) call(cc grpc.ClientConnInterface) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	l.calls.Add(1)
	if _, _, err := where(ctx, cc); err != nil {
		l.failed.Add(1)
		l.first.CompareAndSwap(nil, &err)
	}
}

func (l *load) stop() {
	l.cancel()
	l.wait.Wait()
}

// mustNotHaveFailed stops the load and checks it.
func (l *load) mustNotHaveFailed(t *testing.T) {
	t.Helper()
	l.stop()
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d of %d calls failed, the first with: %v", n, l.calls.Load(), *l.first.Load())
	}
	t.Logf("%d calls, %d failed", l.calls.Load(), l.failed.Load())
}

func containsAll(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}
