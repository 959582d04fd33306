package snapshot

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// switched is nil, or m once it is on.
type switched struct {
	on bool
	m  proto.Message
}

func (s *switched) get() proto.Message {
	if s.on {
		return s.m
	}
	return nil
}

func TestRefusedServiceStaysWholeAndItsEndpointsGoOn(t *testing.T) {
	for name, prepare := range map[string]func(*Builder){
		"by grpc-go alone": lenient,
		"by both":          func(*Builder) {},
	} {
		t.Run(name, func(t *testing.T) {
			b := builder(t, true)
			prepare(b)
			spoiled := &switched{m: badCluster("voting")}
			spoil(b, resource.ClusterType, "voting", spoiled.get)
			w := newWorld("web", "voting")
			before, _ := w.build(t, b, 0)

			spoiled.on = true
			w.service("voting", 7)
			w.services["voting"].Timeout = 1
			w.service("web", 8)
			w.serve("voting", "v1", 9)
			after, problems := w.build(t, b, 1)
			p := problems[0]
			if p.Object != w.services["voting"].Ref() || p.From != "mesh.yaml:1" || p.Warning {
				t.Errorf("got %+v", p)
			}
			for _, want := range []string{`Cluster "voting": `, "stays in use"} {
				if !strings.Contains(p.Message, want) {
					t.Errorf("%q does not say %q", p.Message, want)
				}
			}
			for _, typeURL := range []string{resource.ListenerType, resource.RouteType, resource.ClusterType} {
				if after.Resource(typeURL, "voting") != before.Resource(typeURL, "voting") {
					t.Errorf("%s of the refused service has changed", kindOf(typeURL))
				}
			}
			if got := instances(t, after, "voting"); got != "v1-9" {
				t.Errorf("endpoints of the refused service: got %q", got)
			}
			if got := maxRequests(t, after, "web"); got != 8 {
				t.Errorf("the other service: got %d", got)
			}
			w.build(t, b, 1) // it is still wrong, and still said

			spoiled.on = false
			w.service("voting", 9)
			fixed, _ := w.build(t, b, 0)
			if got := maxRequests(t, fixed, "voting"); got != 9 {
				t.Errorf("mended: got %d", got)
			}
		})
	}
}

func TestRefusedNewServiceIsLeftOutAlone(t *testing.T) {
	b := builder(t, true)
	bad := routeTo("voting", "voting", badRegex)
	spoil(b, resource.RouteType, "voting", func() proto.Message { return bad })
	w := newWorld("web", "voting")
	w.route("voting", "voting")
	w.route("web", "voting")
	snap, problems := w.build(t, b, 2)
	if got := problems[0].Message; !strings.Contains(got, "not published") {
		t.Errorf("got %q", got)
	}
	if problems[1].Object != w.routes[0].Ref() {
		t.Errorf("the route is not told of: %+v", problems[1])
	}
	if snap.Resource(resource.ListenerType, "voting") != nil {
		t.Error("a Listener without its routes is published")
	}
	// Its Cluster is good, and web's calls go there.
	if snap.Resource(resource.ListenerType, "web") == nil || instances(t, snap, "voting") != "v1-1 v1-2" {
		t.Error("who sends calls to it suffers")
	}
}

func TestRouteToARefusedClusterIsHeldBack(t *testing.T) {
	b := builder(t, true)
	bad := badCluster("voting/v2")
	spoil(b, resource.ClusterType, "voting/v2", func() proto.Message { return bad })
	w := newWorld("web", "voting", "shop")
	before, _ := w.build(t, b, 0)
	w.route("web", "voting/v2")
	after, problems := w.build(t, b, 3)
	var words []string
	for _, p := range problems {
		words = append(words, string(p.Object.Kind)+" "+p.Object.Name)
	}
	if got := strings.Join(words, ", "); got != "Service voting, Service web, GRPCRoute web" {
		t.Errorf("told of: %s", got)
	}
	if after.Resource(resource.RouteType, "web") != before.Resource(resource.RouteType, "web") {
		t.Error("web's routes have changed")
	}
	w.route("web", "voting")
	w.build(t, b, 0)

	w = newWorld("web", "voting", "shop")
	w.route("web", "voting/v2")
	fresh := builder(t, true)
	spoil(fresh, resource.ClusterType, "voting/v2", func() proto.Message { return bad })
	snap, _ := w.build(t, fresh, 3)
	if snap.Resource(resource.ListenerType, "web") != nil || snap.Resource(resource.ListenerType, "shop") == nil {
		t.Error("from the start: web is published, or shop is not")
	}
}

func TestHeldRoutesKeepTheirClustersWithEndpointsOfNow(t *testing.T) {
	b := builder(t, true)
	bad := &switched{m: routeTo("web", "voting", badRegex)}
	spoil(b, resource.RouteType, "web", bad.get)
	w := newWorld("web", "voting")
	w.serve("voting", "v2", 5)
	w.route("web", "voting/v2")
	w.build(t, b, 0)

	bad.on = true
	w.route("web", "voting")
	for _, n := range []int{6, 7} {
		w.serve("voting", "v2", n)
		snap, _ := w.build(t, b, 2)
		if got, want := instances(t, snap, "voting/v2"), "v2-"+string(rune('0'+n)); got != want {
			t.Errorf("got endpoints %q, want %q", got, want)
		}
		routes := message(t, snap, resource.RouteType, "web", &routev3.RouteConfiguration{})
		if got := routes.GetVirtualHosts()[0].GetRoutes()[0].GetRoute().GetCluster(); got != "voting/v2" {
			t.Errorf("web's calls go to %q", got)
		}
	}
}

func TestRefusedEndpointsStayAsTheyWere(t *testing.T) {
	b := builder(t, false)
	bad := &switched{m: &endpointv3.ClusterLoadAssignment{ClusterName: "another"}}
	spoil(b, resource.EndpointsType, "voting", bad.get)
	w := newWorld("voting")
	w.build(t, b, 0)
	bad.on = true
	w.serve("voting", "v1", 5)
	w.service("voting", 5)
	snap, problems := w.build(t, b, 1)
	if got := instances(t, snap, "voting"); got != "v1-1 v1-2" {
		t.Errorf("got %q", got)
	}
	if got := maxRequests(t, snap, "voting"); got != 5 {
		t.Errorf("configuration is held back, too: got %d", got)
	}
	if got := problems[0].Message; !strings.Contains(got, "endpoints") {
		t.Errorf("got %q", got)
	}
}

func TestResourceThatFitsNoClientIsRefused(t *testing.T) {
	b := builder(t, false)
	w := newWorld("voting")
	w.build(t, b, 0)
	numbers := make([]int, 40_000)
	for i := range numbers {
		numbers[i] = i + 1
	}
	w.serve("voting", "v1", numbers...)
	snap, problems := w.build(t, b, 1)
	if got := instances(t, snap, "voting"); got != "v1-1 v1-2" {
		t.Errorf("got %d bytes of endpoints", len(got))
	}
	if got := problems[0].Message; !strings.Contains(got, "4 MiB") {
		t.Errorf("got %q", got)
	}
}

func TestResourceUnderAnotherNameIsRefused(t *testing.T) {
	b := builder(t, false)
	spoil(b, resource.ClusterType, "voting", func() proto.Message { return goodCluster("other") })
	if _, problems := b.Build(t.Context(), newWorld("voting").set()); len(problems) == 0 {
		t.Error("taken")
	}
}
