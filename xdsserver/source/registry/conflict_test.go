package registry

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/status"

	registryv1 "github.com/tulle-mesh/tulle/mesh/api/registry/v1"
)

// wantStatus checks the code of err, and that its message holds the words.
func wantStatus(t *testing.T, err error, code string, words ...string) {
	t.Helper()
	if got := status.Code(err).String(); got != code {
		t.Fatalf("got %s: %v, want %s", got, err, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestSecondProcessWithALiveInstanceIDIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		h.process().register(voting("a", "10.0.0.1:80"))
		before := h.emits()
		_, _, err := h.process().try(voting("a", "10.0.0.2:80"))
		wantStatus(t, err, "AlreadyExists", `instance "a" of voting`, "10.0.0.1:80", "instance id of its own")
		time.Sleep(time.Minute)
		if got := h.emits(); got != before || h.shown() != "a:healthy" {
			t.Errorf("the first one suffered: %q", h.shown())
		}
	})
}

func TestSameInstanceIDInAnotherServiceIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		h.process().register(voting("a", "10.0.0.1:80"))
		h.process().register(voting("a", "10.0.0.1:80", func(r *registryv1.RegisterRequest) { r.Namespace = "shop" }))
		time.Sleep(emitGap)
		if got := h.shown(); got != "a:healthy a:healthy" {
			t.Errorf("got %q", got)
		}
	})
}

func TestInstanceIDOfALostProcessMayMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		p := h.process()
		p.register(voting("a", "10.0.0.1:80"))
		p.kill()
		synctest.Wait()
		h.process().register(voting("a", "10.0.0.2:80"))
		time.Sleep(time.Minute)
		if got := h.output().Endpoints; len(got) != 1 || got[0].Addresses[0] != "10.0.0.2:80" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestReconnectBeforeTheServerNoticedTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		old := h.process().register(voting("a", "10.0.0.1:80"))
		before := h.emits()
		h.process().register(voting("a", "10.0.0.1:80"))
		_, err := old.Recv()
		wantStatus(t, err, "Aborted", "taken over")
		time.Sleep(time.Minute)
		if got := h.emits(); got != before || h.shown() != "a:healthy" {
			t.Errorf("got %d outputs more: %q", got-before, h.shown())
		}
	})
}

func TestRestartedProcessReplacesItsLostSelf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		p := h.process()
		p.register(voting("a", "10.0.0.1:80"))
		p.kill()
		synctest.Wait()
		h.process().register(voting("b", "10.0.0.1:80"))
		time.Sleep(emitGap)
		if got := h.shown(); got != "b:healthy" {
			t.Errorf("got %q: clients refuse two endpoints with one address", got)
		}
	})
}

func TestAddressOfALiveProcessIsRefusedToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		h.process().register(voting("a", "10.0.0.1:80"))
		_, _, err := h.process().try(voting("b", "10.0.0.1:80"))
		wantStatus(t, err, "AlreadyExists", "address 10.0.0.1:80 of voting", `instance "a"`)

		p := h.process()
		stream := p.register(voting("c", "10.0.0.3:80"))
		if err := stream.Send(voting("c", "10.0.0.1:80")); err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		wantStatus(t, err, "AlreadyExists", "address 10.0.0.1:80 of voting")
	})
}

func TestEndpointMayNotChangeItsNameWithinAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		stream := h.process().register(voting("a", "10.0.0.1:80"))
		if err := stream.Send(voting("b", "10.0.0.1:80")); err != nil {
			t.Fatal(err)
		}
		_, err := stream.Recv()
		wantStatus(t, err, "InvalidArgument", "instance", "open another")
	})
}

func TestLimits(t *testing.T) {
	t.Run("of all endpoints", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := start(t, Config{MaxEndpoints: 3})
			p := h.process()
			for i := range 3 {
				p.register(voting(fmt.Sprint("i", i), fmt.Sprintf("10.0.0.%d:80", i+1)))
			}
			_, _, err := p.try(voting("i3", "10.0.0.4:80"))
			wantStatus(t, err, "ResourceExhausted", "3 endpoints")
		})
	})
	t.Run("of one connection", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := start(t, Config{MaxPerConnection: 2})
			p := h.process()
			first := p.register(voting("i0", "10.0.0.1:80"))
			p.register(voting("i1", "10.0.0.2:80"))
			_, _, err := p.try(voting("i2", "10.0.0.3:80"))
			wantStatus(t, err, "ResourceExhausted", "2 endpoints")

			if answer := p.say(first, voting("i0", "10.0.0.1:80", state(registryv1.State_STATE_LEAVING))); !answer.GetLeft() {
				t.Fatal("did not leave")
			}
			synctest.Wait()
			p.register(voting("i2", "10.0.0.3:80"))
		})
	})
}
