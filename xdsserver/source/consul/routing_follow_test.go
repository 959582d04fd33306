package consul

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// inForceWithin is how long after a write its routes are there, as a rule.
const inForceWithin = 200 * time.Millisecond

// followRoutes runs followRouting until the test ends; the function waits for a part.
func followRoutes(t *testing.T, c consul.Config) func(what string, ok func(routingPart) bool) routingPart {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	client, err := consul.New(c)
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu   sync.Mutex
		last routingPart
	)
	news := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- New(Config{Client: client, Self: "r1", Logger: c.Logger}).followRouting(ctx, func(p routingPart) {
			mu.Lock()
			last = p
			mu.Unlock()
			select {
			case news <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		client.Close()
	})
	return func(what string, ok func(routingPart) bool) routingPart {
		t.Helper()
		deadline := time.NewTimer(patience)
		defer deadline.Stop()
		for {
			mu.Lock()
			p := last
			mu.Unlock()
			if ok(p) {
				return p
			}
			select {
			case <-news:
			case <-deadline.C:
				t.Fatalf("%s: not after %v: %q, problems %v, error %v", what, patience, rulesOf(p, "web"), p.problems, p.err)
			}
		}
	}
}

// rulesOf are the rules that calls to a service are routed by; nil for none.
func rulesOf(p routingPart, service string) (rules []string) {
	for _, o := range p.objects {
		if r, ok := o.(*model.Route); ok && r.Parents[0].Name == service {
			for _, rule := range r.Rules {
				rules = append(rules, describe(rule))
			}
		}
	}
	return rules
}

func configured(p routingPart, service string) string {
	for _, o := range p.objects {
		if s, ok := o.(*model.Service); ok && s.Name.Name == service {
			return describeService(s)
		}
	}
	return ""
}

func put(t *testing.T, client *api.Client, entries ...api.ConfigEntry) {
	t.Helper()
	for _, e := range entries {
		if ok, _, err := client.ConfigEntries().Set(e, nil); err != nil || !ok {
			t.Fatalf("%s %s: %v, %v", e.GetKind(), e.GetName(), ok, err)
		}
	}
}

func remove(t *testing.T, client *api.Client, entries ...api.ConfigEntry) {
	t.Helper()
	for _, e := range entries {
		if _, err := client.ConfigEntries().Delete(e.GetKind(), e.GetName(), nil); err != nil {
			t.Fatalf("%s %s: %v", e.GetKind(), e.GetName(), err)
		}
	}
}

// A change of an entry is one of the routes, and its removal brings back what was before.
func TestEntriesComeAndGo(t *testing.T) {
	agent := consultest.Start(t)
	client := agent.Client(t)
	await := followRoutes(t, consul.Config{Address: agent.Address()})
	await("an empty part", func(p routingPart) bool { return p.known && p.err == nil && len(p.objects) == 0 })
	put(t, client, grpcOf("web", "api")...)
	put(t, client, resolver(api.ServiceResolverConfigEntry{Subsets: subsetsOf("v1", "v2")}))
	var took []time.Duration
	for _, tt := range []struct {
		name          string
		before, after api.ConfigEntry
		first, second []string
		services      [2]string
	}{
		{
			name:   "router",
			before: router(matching(api.ServiceRouteHTTPMatch{PathExact: "/a.B/C"})), first: []string{"/a.B/C -> api", "* -> web"},
			after: router(going(api.ServiceRouteDestination{RequestTimeout: time.Second})), second: []string{"* -> web timeout 1s"},
		},
		{
			name:   "splitter",
			before: splitter("web", api.ServiceSplit{Weight: 50}, api.ServiceSplit{Weight: 50, Service: "api"}), first: []string{"* -> web=5000 api=5000"},
			after: splitter("web", api.ServiceSplit{Weight: 100, ServiceSubset: "v1"}), second: []string{"* -> web@v1"},
		},
		{
			name:   "resolver of another service",
			before: resolver(api.ServiceResolverConfigEntry{Name: "api", LoadBalancer: &api.LoadBalancer{Policy: roundRobin}}), services: [2]string{"by round-robin"},
			after: resolver(api.ServiceResolverConfigEntry{Name: "api", LoadBalancer: &api.LoadBalancer{Policy: leastRequest}}),
		},
		{
			name:   "defaults",
			before: &api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "api", Protocol: "grpc", LocalRequestTimeoutMs: 100}, services: [2]string{"100ms"},
			after: &api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "api", Protocol: "grpc", MutualTLSMode: api.MutualTLSModeStrict},
		},
	} {
		for i, e := range []api.ConfigEntry{tt.before, tt.after} {
			rules, service := [][]string{tt.first, tt.second}[i], []string{tt.services[0], map[string]string{"resolver of another service": "by least-request", "defaults": "strict"}[tt.name]}[i]
			began := time.Now()
			put(t, client, e)
			await(tt.name, func(p routingPart) bool {
				return p.err == nil && slices.Equal(rulesOf(p, "web"), rules) && strings.HasSuffix(configured(p, "api"), service)
			})
			took = append(took, time.Since(began))
		}
		began := time.Now()
		if tt.name == "defaults" {
			put(t, client, grpcOf("api")...)
		} else {
			remove(t, client, tt.after)
		}
		await(tt.name+" is removed", func(p routingPart) bool {
			return p.err == nil && rulesOf(p, "web") == nil && configured(p, "api") == ""
		})
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("in force after %v to %v, half of them within %v", took[0], took[len(took)-1], took[len(took)/2])
	if got := took[len(took)/2]; got > inForceWithin {
		t.Errorf("half of the writes took more than %v, want %v", got, inForceWithin)
	}
}

// What does not change is asked for once, and stays the same values.
func TestChainsThatDoNotChangeAreNotAskedForAgain(t *testing.T) {
	agent := consultest.Start(t)
	client := agent.Client(t)
	put(t, client, grpcOf("web", "api", "other", "third")...)
	put(t, client, router(matching(api.ServiceRouteHTTPMatch{PathExact: "/a.B/C"})),
		resolver(api.ServiceResolverConfigEntry{Name: "other", Redirect: &api.ServiceResolverRedirect{Service: "third"}}))
	address, counts := count(t, agent)
	await := followRoutes(t, consul.Config{Address: address})
	before := await("both", func(p routingPart) bool { return rulesOf(p, "web") != nil && rulesOf(p, "other") != nil })
	counts.reset()

	// The router of web leads to api, which leads to another now.
	put(t, client, resolver(api.ServiceResolverConfigEntry{Name: "api", Redirect: &api.ServiceResolverRedirect{Service: "web"}}))
	after := await("the redirect", func(p routingPart) bool {
		return slices.Equal(rulesOf(p, "web"), []string{"/a.B/C -> web", "* -> web"})
	})
	paths := counts.reset()
	if paths["/v1/discovery-chain/web"] == 0 || paths["/v1/discovery-chain/api"] == 0 || paths["/v1/discovery-chain/other"] > 0 {
		t.Errorf("got %v, want the chains of web and api alone", paths)
	}
	same := func(p routingPart) model.Object {
		i := slices.IndexFunc(p.objects, func(o model.Object) bool { return o.Ref().Name == "consul.other" })
		return p.objects[i]
	}
	if same(before) != same(after) {
		t.Error("a route that did not change is another value, which has all that is made of it made anew")
	}
}

func TestRoutesStayWhileChainsCannotBeRead(t *testing.T) {
	agent := consultest.Start(t)
	client := agent.Client(t)
	put(t, client, grpcOf("web", "api")...)
	var broken atomic.Bool
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: agent.Address()})
	proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	transport := &http.Transport{}
	proxy.Transport = transport
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if broken.Load() && strings.HasPrefix(r.URL.Path, "/v1/discovery-chain/") {
			http.Error(rw, "no", http.StatusInternalServerError)
			return
		}
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
	})
	await := followRoutes(t, consul.Config{Address: server.Listener.Addr().String()})
	put(t, client, splitter("web", api.ServiceSplit{Weight: 100, Service: "api"}))
	await("the split", func(p routingPart) bool { return slices.Equal(rulesOf(p, "web"), []string{"* -> api"}) })
	broken.Store(true)
	put(t, client, splitter("web", api.ServiceSplit{Weight: 100}))
	p := await("an error", func(p routingPart) bool { return p.err != nil })
	if got := rulesOf(p, "web"); !p.known || !slices.Equal(got, []string{"* -> api"}) || !strings.Contains(p.err.Error(), "discovery chain of web: ") {
		t.Errorf("got %q and %v, want the routes of before, and which chain it is", got, p.err)
	}
	broken.Store(false)
	await("what was written", func(p routingPart) bool { return p.err == nil && p.known && rulesOf(p, "web") == nil })
}

// Rights that are taken away are no reason to send calls elsewhere.
func TestEntriesThatACLsHideStay(t *testing.T) {
	const root = "5a0c3a6e-8e6f-4a53-8c1b-0a9c5b0e7d12"
	agent := consultest.Start(t, consultest.ACLs(root))
	client := agent.Client(t)
	put(t, client, resolver(api.ServiceResolverConfigEntry{Redirect: &api.ServiceResolverRedirect{Service: "api"}}))
	policy, _, err := client.ACL().PolicyCreate(&api.ACLPolicy{Name: "read", Rules: readAll}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, secret := token(t, client, "read")
	await := followRoutes(t, consul.Config{Address: agent.Address(), Token: secret})
	await("the redirect", func(p routingPart) bool { return p.err == nil && slices.Equal(rulesOf(p, "web"), []string{"* -> api"}) })
	policy.Rules = `service_prefix "other" { policy = "read" }`
	if policy, _, err = client.ACL().PolicyUpdate(policy, nil); err != nil {
		t.Fatal(err)
	}
	// Who waits is woken by a write alone, and answered by the rights that it had.
	put(t, client, resolver(api.ServiceResolverConfigEntry{Name: "other"}))
	await("the resolver of another service", func(p routingPart) bool { return len(p.objects) > 0 })
	put(t, client, resolver(api.ServiceResolverConfigEntry{Name: "other", RequestTimeout: time.Second}))
	p := await("an error", func(p routingPart) bool { return p.err != nil })
	if got := rulesOf(p, "web"); !slices.Equal(got, []string{"* -> api"}) || !strings.Contains(p.err.Error(), "give it service:read") {
		t.Errorf("got %q and %v, want the redirect, and what to do", got, p.err)
	}
	policy.Rules = readAll
	if _, _, err = client.ACL().PolicyUpdate(policy, nil); err != nil {
		t.Fatal(err)
	}
	put(t, client, resolver(api.ServiceResolverConfigEntry{Name: "other", DefaultSubset: "v1", Subsets: subsetsOf("v1")}))
	await("both again", func(p routingPart) bool {
		return p.err == nil && rulesOf(p, "web") != nil && rulesOf(p, "other") != nil
	})
}

func TestReachFollowsWhatEntriesName(t *testing.T) {
	entries := entriesOf([]api.ConfigEntry{
		router(going(api.ServiceRouteDestination{Service: "a"})),
		&api.ServiceRouterConfigEntry{Kind: api.ServiceRouter, Name: "a", Routes: []api.ServiceRoute{going(api.ServiceRouteDestination{Service: "not-reached"})}},
		splitter("a", api.ServiceSplit{Service: "b"}, api.ServiceSplit{Service: "c", Namespace: "team"}, api.ServiceSplit{}),
		resolver(api.ServiceResolverConfigEntry{Name: "b", Redirect: &api.ServiceResolverRedirect{Service: "d"}}),
		resolver(api.ServiceResolverConfigEntry{Name: "d", Failover: map[string]api.ServiceResolverFailover{
			"*": {Service: "e"}, "v1": {Targets: []api.ServiceResolverFailoverTarget{{Service: "f"}, {Service: "web"}}},
		}}),
	})
	var got []string
	for name := range entries.reach(entryNamed("", "web")) {
		got = append(got, fmt.Sprint(name.namespace, "/", name.name))
	}
	slices.Sort(got)
	want := []string{"default/a", "default/b", "default/d", "default/e", "default/f", "default/web", "team/c"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
