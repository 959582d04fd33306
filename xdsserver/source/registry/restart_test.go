package registry

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	registryv1 "github.com/tulle-mesh/tulle/mesh/api/registry/v1"
)

func TestRestartRemovesNobodyBeforeTheyHadTimeToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		before := start(t, Config{Store: store})
		before.process().register(voting("a", "10.0.0.1:80"))
		before.process().register(voting("b", "10.0.0.2:80"))
		before.process().register(voting("c", "10.0.0.3:80", state(registryv1.State_STATE_NOT_SERVING)))
		before.stop()

		begin := time.Now()
		h := start(t, Config{Store: store})
		if got := h.shown(); got != "a:lost b:lost c:not serving" {
			t.Errorf("at once: got %q", got)
		}
		time.Sleep(3 * time.Second)
		h.process().register(voting("a", "10.0.0.1:80"))
		if got := h.shown(); got != "a:healthy b:lost c:not serving" {
			t.Errorf("one is back: got %q", got)
		}
		time.Sleep(time.Until(begin.Add(DefaultWarmUp - time.Millisecond)))
		if got := h.shown(); got != "a:healthy b:lost c:not serving" {
			t.Errorf("just before the end: got %q", got)
		}
		time.Sleep(time.Millisecond + emitGap)
		if got := h.shown(); got != "a:healthy" {
			t.Errorf("after it: got %q", got)
		}
	})
}

func TestEveryChangeIsSavedWithinASecondButNotOnItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		h := start(t, Config{Store: store})
		p := h.process()
		stream := p.register(voting("a", "10.0.0.1:80"))
		time.Sleep(saveGap)
		if got, saves := store.state(); got != "a:healthy" || saves != 1 {
			t.Errorf("got %q after %d saves", got, saves)
		}
		p.kill() // the stream, not the endpoint: nothing to save
		time.Sleep(4 * time.Second)
		if got, saves := store.state(); got != "a:healthy" || saves != 1 {
			t.Errorf("lost: got %q after %d saves", got, saves)
		}
		time.Sleep(2 * time.Second)
		if got, _ := store.state(); got != "" {
			t.Errorf("gone: got %q", got)
		}
		_ = stream
	})
}

func TestEndpointThatLeavesIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		h := start(t, Config{Store: store})
		p := h.process()
		stream := p.register(voting("a", "10.0.0.1:80"))
		p.say(stream, voting("a", "10.0.0.1:80", state(registryv1.State_STATE_LEAVING)))
		h.stop()
		if got, _ := store.state(); got != "" {
			t.Errorf("got %q", got)
		}
	})
}

func TestStoreThatFailsIsToldOnceAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log buffer
		store := &memory{err: errors.New("no space left on device")}
		h := start(t, Config{Store: store, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		h.process().register(voting("a", "10.0.0.1:80"))
		time.Sleep(10 * time.Second)
		if got := h.shown(); got != "a:healthy" {
			t.Errorf("got %q", got)
		}
		if got := strings.Count(log.String(), "endpoints not saved"); got != 1 {
			t.Errorf("told %d times: %s", got, &log)
		}
		store.fail(nil)
		time.Sleep(2 * saveGap)
		if got, _ := store.state(); got != "a:healthy" {
			t.Errorf("after it: got %q", got)
		}
	})
}

func TestEndpointsAreAsTheyAreNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		p := h.process()
		p.register(voting("b", "10.0.0.2:80"))
		h.process().register(voting("a", "10.0.0.1:80"))
		p.kill()
		time.Sleep(3 * time.Second)
		if got := describe(h.registry.Endpoints()); got != "a:healthy b:lost" {
			t.Errorf("got %q", got)
		}
	})
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
