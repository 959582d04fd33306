package registry

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	registryv1 "github.com/tulle-mesh/tulle/mesh/api/registry/v1"
)

func TestFirstOutputIsEmittedWithNoEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		if o := h.output(); o.Generation != 1 || len(o.Endpoints) != 0 {
			t.Errorf("got %+v", o)
		}
	})
}

func TestRegistrationIsEmittedAtOnceWithWhatItSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{Lease: 7 * time.Second})
		time.Sleep(time.Minute)
		begin := time.Now()
		_, answer, err := h.process().try(voting("a", "10.0.0.1:8080"))
		if err != nil {
			t.Fatal(err)
		}
		if got := answer.GetLease().AsDuration(); got != 7*time.Second || answer.GetLeft() {
			t.Errorf("answer: got %v", answer)
		}
		got := h.output().Endpoints
		if len(got) != 1 {
			t.Fatalf("got %+v", got)
		}
		e := got[0]
		if e.Service.String() != "voting" || e.Instance != "a" || e.Version != "v1" || e.Region != "eu" || e.Zone != "eu-1" ||
			e.Addresses[0] != "10.0.0.1:8080" || e.From != "registered" || !e.Since.Equal(begin) {
			t.Errorf("got %+v", e)
		}
	})
}

func TestKilledEndpointIsLostAndGoneWithItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		p := h.process()
		p.register(voting("a", "10.0.0.1:8080"))
		h.process().register(voting("b", "10.0.0.2:8080"))
		p.kill()
		killed := time.Now()
		for _, step := range []struct {
			after time.Duration
			want  string
		}{
			{2*time.Second + 400*time.Millisecond, "a:healthy b:healthy"},
			{2*time.Second + 600*time.Millisecond, "a:lost b:healthy"},
			{4*time.Second + 900*time.Millisecond, "a:lost b:healthy"},
			{5*time.Second + 100*time.Millisecond, "b:healthy"},
		} {
			time.Sleep(time.Until(killed.Add(step.after)))
			if got := h.shown(); got != step.want {
				t.Errorf("after %v: got %q, want %q", step.after, got, step.want)
			}
		}
	})
}

func TestReconnectSoonEmitsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		p := h.process()
		p.register(voting("a", "10.0.0.1:8080"))
		before := h.emits()
		for range 5 {
			p.kill()
			time.Sleep(2 * time.Second)
			p = h.process()
			p.register(voting("a", "10.0.0.1:8080"))
			time.Sleep(10 * time.Second)
		}
		if got := h.emits(); got != before {
			t.Errorf("got %d outputs more: %q", got-before, h.shown())
		}
	})
}

func TestReconnectLateInTheLeaseIsHealthyAgainAsBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		p := h.process()
		p.register(voting("a", "10.0.0.1:8080"))
		before := h.output().Endpoints[0]
		p.kill()
		time.Sleep(4 * time.Second)
		if got := h.shown(); got != "a:lost" {
			t.Fatalf("got %q", got)
		}
		h.process().register(voting("a", "10.0.0.1:8080"))
		if after := h.output().Endpoints[0]; !same(before, after) {
			t.Errorf("got %+v, want %+v", after, before)
		}
	})
}

func TestChangedStateIsEmitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		p := h.process()
		stream := p.register(voting("a", "10.0.0.1:8080"))
		time.Sleep(time.Second)
		p.say(stream, voting("a", "10.0.0.1:8080", state(registryv1.State_STATE_NOT_SERVING)))
		if got := h.shown(); got != "a:not serving" {
			t.Errorf("got %q", got)
		}
		if got := time.Since(h.output().Endpoints[0].Since); got != 0 {
			t.Errorf("not serving since %v ago", got)
		}
		time.Sleep(time.Second)
		p.say(stream, voting("a", "10.0.0.9:8080"))
		if got := h.output().Endpoints[0]; got.Addresses[0] != "10.0.0.9:8080" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestEndpointThatDoesNotServeTakesNoCallsWhenItsStreamBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		p := h.process()
		p.register(voting("a", "10.0.0.1:8080", state(registryv1.State_STATE_NOT_SERVING)))
		p.kill()
		time.Sleep(4 * time.Second)
		if got := h.shown(); got != "a:not serving" {
			t.Errorf("got %q", got)
		}
		time.Sleep(2 * time.Second)
		if got := h.shown(); got != "" {
			t.Errorf("after its lease: got %q", got)
		}
	})
}

func TestFlappingCostsBoundedOutputsAndEndsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		h := start(t, Config{Store: store})
		p := h.process()
		before := h.emits()
		streams := make([]clientStream, 10)
		for i := range 6000 { // 100 a second, for a minute
			n := i % len(streams)
			to := registryv1.State_STATE_SERVING
			if i/len(streams)%2 == 1 {
				to = registryv1.State_STATE_NOT_SERVING
			}
			request := voting(fmt.Sprint("i", n), fmt.Sprintf("10.0.0.%d:80", n+1), state(to))
			if streams[n] == nil {
				streams[n] = p.register(request)
			} else {
				p.say(streams[n], request)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if got := h.emits() - before; got > 20*60+1 {
			t.Errorf("got %d outputs in a minute", got)
		}
		if _, saves := store.state(); saves > 61 {
			t.Errorf("got %d saves in a minute", saves)
		}
		for n, stream := range streams {
			p.say(stream, voting(fmt.Sprint("i", n), fmt.Sprintf("10.0.0.%d:80", n+1)))
		}
		time.Sleep(emitGap)
		want := "i0:healthy i1:healthy i2:healthy i3:healthy i4:healthy i5:healthy i6:healthy i7:healthy i8:healthy i9:healthy"
		if got := h.shown(); got != want {
			t.Errorf("in the end: got %q", got)
		}
	})
}

func TestProcessesThatComeAndGoLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		for i := range 200 {
			p := h.process()
			p.register(voting(fmt.Sprint("i", i), "10.0.0.1:80")) // the next one at the same address
			p.kill()
			synctest.Wait()
		}
		time.Sleep(DefaultLease + time.Second)
		if got := h.shown(); got != "" {
			t.Errorf("got %q", got)
		}
		table := &h.registry.table
		if len(table.byKey)+len(table.byAddress)+len(table.order)+len(table.perConn) != 0 {
			t.Errorf("left behind: %+v", table)
		}
	})
}

func TestStoppingEndsRegistrationsAndRefusesNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		stream := h.process().register(voting("a", "10.0.0.1:80"))
		h.stop()
		_, err := stream.Recv()
		wantStatus(t, err, "Unavailable", "register again")
	})
}
