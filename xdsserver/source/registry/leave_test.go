package registry

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	registryv1 "github.com/tulle-mesh/tulle/mesh/api/registry/v1"
)

func TestLeavingEndpointWaitsForClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *host
		h = start(t, Config{Settled: func(_ context.Context, generation uint64) error {
			o := h.output()
			if o.Generation != generation || describe(o.Endpoints) != "a:leaving b:healthy" {
				t.Errorf("clients are asked for generation %d, of %d: %q", generation, o.Generation, describe(o.Endpoints))
			}
			time.Sleep(2 * time.Second)
			return nil
		}})
		p := h.process()
		stream := p.register(voting("a", "10.0.0.1:80"))
		h.process().register(voting("b", "10.0.0.2:80"))
		begin := time.Now()
		answer := p.say(stream, voting("a", "10.0.0.1:80", state(registryv1.State_STATE_LEAVING)))
		if took := time.Since(begin); !answer.GetLeft() || took < 2*time.Second || took > 2*time.Second+emitGap {
			t.Errorf("got %v after %v", answer, took)
		}
		time.Sleep(emitGap)
		if got := h.shown(); got != "b:healthy" {
			t.Errorf("after it: got %q", got)
		}
	})
}

func TestLeavingEndpointDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{Settled: func(ctx context.Context, _ uint64) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		p := h.process()
		stream := p.register(voting("a", "10.0.0.1:80"))
		begin := time.Now()
		answer := p.say(stream, voting("a", "10.0.0.1:80", state(registryv1.State_STATE_LEAVING)))
		if took := time.Since(begin); !answer.GetLeft() || took != settleWithin {
			t.Errorf("got %v after %v", answer, took)
		}
	})
}

func TestProcessThatLeavesAndDiesHasNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{Settled: func(ctx context.Context, _ uint64) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		p := h.process()
		stream := p.register(voting("a", "10.0.0.1:80"))
		if err := stream.Send(voting("a", "10.0.0.1:80", state(registryv1.State_STATE_LEAVING))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		p.kill()
		time.Sleep(2 * emitGap)
		if got := h.shown(); got != "" {
			t.Errorf("got %q", got)
		}
	})
}

func TestFirstWordMayBeLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		_, answer, err := h.process().try(voting("a", "10.0.0.1:80", state(registryv1.State_STATE_LEAVING)))
		if err != nil || !answer.GetLeft() {
			t.Errorf("got %v, %v", answer, err)
		}
		time.Sleep(2 * emitGap)
		if got := h.shown(); got != "" {
			t.Errorf("got %q", got)
		}
	})
}

func TestNewProcessMayTakeTheAddressOfALeavingOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{Settled: func(ctx context.Context, _ uint64) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		p := h.process()
		stream := p.register(voting("a", "10.0.0.1:80"))
		if err := stream.Send(voting("a", "10.0.0.1:80", state(registryv1.State_STATE_LEAVING))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.process().register(voting("b", "10.0.0.1:80"))
		answer, err := stream.Recv()
		if err != nil || !answer.GetLeft() {
			t.Errorf("the one that leaves: got %v, %v", answer, err)
		}
		time.Sleep(2 * emitGap)
		if got := h.shown(); got != "b:healthy" {
			t.Errorf("got %q", got)
		}
	})
}

func TestProcessThatClosesItsStreamIsGoneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		stream := h.process().register(voting("a", "10.0.0.1:80"))
		h.process().register(voting("b", "10.0.0.2:80"))
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * emitGap)
		if got := h.shown(); got != "b:healthy" {
			t.Errorf("got %q, want only b", got)
		}
	})
}
