package resolver

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

const inboundName = "tulle/server/voting"

func (f *fakeSource) serverListener(routes string) {
	f.set(resource.ListenerType, inboundName, known(&resource.Listener{
		Name: inboundName, RouteName: routes, Server: &resource.Server{},
	}))
}

func (f *fakeSource) inboundRoutes(name, domain string) {
	f.set(resource.RouteType, name, known(&resource.RouteConfiguration{
		Name:         name,
		VirtualHosts: []*resource.VirtualHost{{Domains: []string{domain}}},
	}))
}

func newRunningInbound(t *testing.T, src source) *Inbound {
	t.Helper()
	i := newInbound(src, "voting", slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return i
}

func TestAnInboundIsPublishedWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		i := newRunningInbound(t, src)
		for _, step := range []struct {
			what string
			do   func()
		}{
			{"nothing", func() {}},
			{"a listener", func() { src.serverListener("routes") }},
			{"routes without its host", func() { src.inboundRoutes("routes", "other") }},
		} {
			step.do()
			synctest.Wait()
			if i.Current() != nil {
				t.Fatalf("with %s there is an Inbound", step.what)
			}
		}
		changed := i.Changed()
		src.inboundRoutes("routes", "*")
		synctest.Wait()
		in := i.Current()
		if in == nil || in.Listener == nil || in.VirtualHost == nil || in.Revision != 1 {
			t.Fatalf("Inbound = %+v", in)
		}
		select {
		case <-changed:
		default:
			t.Error("nobody was told")
		}
		if err := i.Wait(t.Context()); err != nil {
			t.Errorf("Wait: %v", err)
		}
	})
}

func TestAnInboundStaysUntilAnotherIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		src.serverListener("a")
		src.inboundRoutes("a", "*")
		i := newRunningInbound(t, src)
		synctest.Wait()
		first := i.Current()

		for _, step := range []struct {
			what string
			do   func()
		}{
			{"the same again", func() { src.serverListener("a"); src.serverListener("b"); src.serverListener("a") }},
			{"a listener that leads elsewhere", func() { src.serverListener("b") }},
			{"one that leads elsewhere still", func() { src.serverListener("c") }},
			{"routes that cannot be used", func() { src.fail(resource.RouteType, "c", errRefused) }},
			{"a client's listener", func() {
				src.set(resource.ListenerType, inboundName, known(&resource.Listener{Name: inboundName, RouteName: "a"}))
			}},
		} {
			step.do()
			synctest.Wait()
			if got := i.Current(); got == nil || got.VirtualHost != first.VirtualHost {
				t.Fatalf("after %s: %+v, want the first", step.what, got)
			}
		}
		src.serverListener("d")
		src.inboundRoutes("d", "*")
		synctest.Wait()
		if got := i.Current(); got.VirtualHost == first.VirtualHost || got.Revision <= first.Revision {
			t.Errorf("got %+v, want another than the first", got)
		}
		if src.watched(resource.RouteType, "a") || !src.watched(resource.RouteType, "d") || src.open() != 2 {
			t.Errorf("%d subscriptions, want the listener and its routes", src.open())
		}
	})
}

func TestAnInboundThatDoesNotChangeTellsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		src.serverListener("a")
		src.inboundRoutes("a", "*")
		i := newRunningInbound(t, src)
		synctest.Wait()
		changed, first := i.Changed(), i.Current()
		i.notify()
		synctest.Wait()
		select {
		case <-changed:
			t.Error("it tells of no change")
		default:
		}
		if i.Current() != first {
			t.Error("it made another of the same")
		}
	})
}

func TestWaitingForAnInboundEnds(t *testing.T) {
	t.Run("with what is waited for", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.serverListener("a")
			i := newRunningInbound(t, src)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := i.Wait(ctx)
			if err == nil || !strings.Contains(err.Error(), `RouteConfiguration "a"`) {
				t.Errorf("got %v, want what is waited for", err)
			}
		})
	})
	t.Run("when nothing will come", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			i := newInbound(newFakeSource(), "voting", nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			go func() { _ = i.Run(ctx) }()
			if err := i.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "closed") {
				t.Errorf("got %v", err)
			}
			if err := i.Run(t.Context()); err == nil {
				t.Error("it ran twice")
			}
		})
	})
}

// What changes is told by the resource being another, whatever changed in it.
func TestAnInboundFollowsItsAdmission(t *testing.T) {
	route := func(t *testing.T, admission *policyv1.Admission) *resource.RouteConfiguration {
		t.Helper()
		r := &routev3.Route{
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}},
		}
		if admission != nil {
			config, err := anypb.New(admission)
			if err != nil {
				t.Fatal(err)
			}
			r.TypedPerFilterConfig = map[string]*anypb.Any{resource.AdmissionFilter: config}
		}
		value, err := proto.Marshal(&routev3.RouteConfiguration{
			Name: "a", VirtualHosts: []*routev3.VirtualHost{{Domains: []string{"*"}, Routes: []*routev3.Route{r}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := resource.DecodeRouteConfiguration(value)
		if err != nil {
			t.Fatal(err)
		}
		return decoded
	}
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		src.serverListener("a")
		src.set(resource.RouteType, "a", known(route(t, nil)))
		i := newRunningInbound(t, src)
		synctest.Wait()
		const method = "/voting.v1.Voting/Vote"
		if got := i.Current().Admission(method); got != nil {
			t.Fatalf("admission = %+v before there is one", got)
		}
		for limit := range uint32(3) {
			changed := i.Changed()
			src.set(resource.RouteType, "a", known(route(t, &policyv1.Admission{Concurrency: &policyv1.Concurrency{Limit: 1 + limit}})))
			synctest.Wait()
			select {
			case <-changed:
			default:
				t.Error("nobody was told")
			}
			if got := i.Current().Admission(method); got == nil || got.Concurrency.Limit != 1+limit {
				t.Errorf("admission = %+v, want a limit of %d", got, 1+limit)
			}
		}
	})
}
