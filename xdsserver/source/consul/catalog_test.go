package consul

import (
	"cmp"
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
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// A watcher keeps the parts that the catalog emits.
type watcher struct {
	mu    sync.Mutex
	parts []catalogPart // a test that only looks at the last has no others
	keep  bool          // all of them
	news  chan struct{}
}

// follow runs the catalog until the test ends.
func follow(tb testing.TB, c consul.Config, change ...func(*Config)) *watcher {
	tb.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	client, err := consul.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	config := Config{Client: client, Self: "r1", Logger: c.Logger}
	for _, f := range change {
		f(&config)
	}
	w := &watcher{news: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(config).followCatalog(ctx, w.take) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
		client.Close()
	})
	return w
}

func (w *watcher) take(p catalogPart) {
	w.mu.Lock()
	if w.keep {
		w.parts = append(w.parts, p)
	} else {
		w.parts = []catalogPart{p}
	}
	w.mu.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
}

func (w *watcher) last() catalogPart {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.parts) == 0 {
		return catalogPart{}
	}
	return w.parts[len(w.parts)-1]
}

// until waits for a part that is as it should be.
func (w *watcher) until(tb testing.TB, what string, ok func(catalogPart) bool) {
	tb.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !ok(w.last()) {
		select {
		case <-w.news:
		case <-deadline.C:
			p := w.last()
			tb.Fatalf("%s: not after %v: %d instances %.300q, problems %v, error %v", what, patience, len(p.instances), list(p), p.problems, p.err)
		}
	}
}

// wants waits for these instances, as list has them, and no error.
func (w *watcher) wants(tb testing.TB, instances ...string) {
	tb.Helper()
	w.until(tb, fmt.Sprintf("%.300q", instances), func(p catalogPart) bool {
		return p.known && p.err == nil && slices.Equal(list(p), instances)
	})
}

// list is "voting/a", with ! where it takes no calls, and ? where it is lost.
func list(p catalogPart) []string {
	all := make([]string, len(p.instances))
	for i, in := range p.instances {
		id, _, _ := strings.Cut(in.endpoint.Instance, "@")
		all[i] = in.endpoint.Service.String() + "/" + id +
			map[model.Health]string{model.Healthy: "", model.NotServing: "!", model.Lost: "?"}[in.endpoint.Health]
	}
	return all
}

// register puts an instance into the catalog, with one check.
func register(tb testing.TB, client *api.Client, service, id, status string, change ...func(*api.AgentService)) {
	tb.Helper()
	s := &api.AgentService{ID: id, Service: service, Address: "10.0.0.1", Port: 1000 + int(id[0])}
	for _, f := range change {
		f(s)
	}
	_, err := client.Catalog().Register(&api.CatalogRegistration{
		Node: "n1", Address: "10.0.0.1", SkipNodeUpdate: true, Service: s,
		Check: &api.AgentCheck{Node: "n1", CheckID: "check-" + service + "-" + id, Name: "check", ServiceID: id, Status: cmp.Or(status, api.HealthPassing)},
	}, nil)
	if err != nil {
		tb.Fatal(err)
	}
}

func deregister(tb testing.TB, client *api.Client, id string) {
	tb.Helper()
	if _, err := client.Catalog().Deregister(&api.CatalogDeregistration{Node: "n1", ServiceID: id}, nil); err != nil {
		tb.Fatal(err)
	}
}

func TestTheCatalogIsFollowed(t *testing.T) {
	agent := consultest.Start(t)
	client := agent.Client(t)
	w := follow(t, consul.Config{Address: agent.Address()})
	w.wants(t)
	register(t, client, "voting", "a", "")
	register(t, client, "emoji", "e", "")
	w.wants(t, "emoji/e", "voting/a")
	register(t, client, "voting", "b", api.HealthCritical)
	w.wants(t, "emoji/e", "voting/a", "voting/b!")
	register(t, client, "voting", "a-proxy", "", func(s *api.AgentService) {
		s.Kind, s.Proxy = api.ServiceKindConnectProxy, &api.AgentServiceConnectProxyConfig{DestinationServiceName: "voting"}
	})
	register(t, client, "voting", "own", "", func(s *api.AgentService) {
		s.Meta = map[string]string{consul.MetaOwner: "r1", consul.MetaInstance: "own"}
	})
	register(t, client, "voting", "other", "", func(s *api.AgentService) {
		s.Meta = map[string]string{consul.MetaOwner: "r2", consul.MetaInstance: "other"}
	})
	w.wants(t, "emoji/e", "voting/a", "voting/b!", "voting/other")
	register(t, client, "Bad_Name", "x", "")
	w.until(t, "a problem", func(p catalogPart) bool { return len(p.problems) == 1 })
	wantProblems(t, w.last().problems, `default/Bad_Name : cannot be called: "Bad_Name" may hold only a-z`)
	deregister(t, client, "x")
	deregister(t, client, "b")
	w.until(t, "no problem", func(p catalogPart) bool { return len(p.problems) == 0 })
	w.wants(t, "emoji/e", "voting/a", "voting/other")
}

func TestATagChoosesServicesAndInstances(t *testing.T) {
	agent := consultest.Start(t)
	client := agent.Client(t)
	tagged := func(s *api.AgentService) { s.Tags = []string{"Mesh", "v1"} }
	register(t, client, "voting", "a", "", tagged)
	register(t, client, "voting", "b", "")
	register(t, client, "emoji", "e", "")
	w := follow(t, consul.Config{Address: agent.Address()}, func(c *Config) { c.Tag = "mesh" })
	w.wants(t, "voting/a")
	register(t, client, "emoji", "f", "", tagged)
	w.wants(t, "emoji/f", "voting/a")
}

// A counter is a proxy before Consul that counts the requests for each path.
type counter struct {
	mu    sync.Mutex
	paths map[string]int
}

func count(t *testing.T, agent *consultest.Agent) (address string, c *counter) {
	t.Helper()
	c = &counter{paths: map[string]int{}}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: agent.Address()})
	proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // queries that the end of a test breaks off
	transport := &http.Transport{}
	proxy.Transport = transport
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.paths[r.URL.Path]++
		c.mu.Unlock()
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
	})
	return server.Listener.Addr().String(), c
}

// reset returns the counts since the last one.
func (c *counter) reset() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	paths := c.paths
	c.paths = map[string]int{}
	return paths
}

func TestASteadyStateCostsOneQueryForEachService(t *testing.T) {
	agent := consultest.Start(t)
	client := agent.Client(t)
	for i := range 5 {
		register(t, client, fmt.Sprintf("s%d", i), fmt.Sprintf("%d", i), "")
	}
	register(t, client, "s0-proxy", "p", "", func(s *api.AgentService) {
		s.Kind, s.Proxy = api.ServiceKindConnectProxy, &api.AgentServiceConnectProxyConfig{DestinationServiceName: "s0"}
	})
	address, c := count(t, agent)
	w := follow(t, consul.Config{Address: address})
	w.wants(t, "s0/0", "s1/1", "s2/2", "s3/3", "s4/4")
	// Each is asked twice: for what there is, and for what changes, which waits.
	settled := time.NewTimer(2 * time.Second)
	<-settled.C
	for path, n := range c.reset() {
		if n > 2 {
			t.Errorf("%s was asked %d times, want 2", path, n)
		}
		if strings.HasSuffix(path, "/consul") || strings.HasSuffix(path, "-proxy") {
			t.Errorf("%s was asked, which nobody calls", path)
		}
	}
	settled.Reset(3 * time.Second)
	<-settled.C
	if n := c.reset(); len(n) > 0 {
		t.Errorf("while nothing happened, Consul was asked %v, want nothing", n)
	}
	register(t, client, "s3", "3", api.HealthWarning)
	register(t, client, "s5", "5", "")
	w.wants(t, "s0/0", "s1/1", "s2/2", "s3/3", "s4/4", "s5/5")
	settled.Reset(2 * time.Second)
	<-settled.C
	n := c.reset()
	t.Logf("a change and a new service: %v", n)
	for _, still := range []string{"s0", "s1", "s2", "s4"} {
		if n["/v1/health/service/"+still] > 0 {
			t.Errorf("%s did not change, and was asked again", still)
		}
	}
}

func TestAServiceThatVanishesIsHeldAndThenNotWatched(t *testing.T) {
	agent := consultest.Start(t)
	client := agent.Client(t)
	register(t, client, "voting", "a", "")
	register(t, client, "emoji", "e", "")
	address, c := count(t, agent)
	w := follow(t, consul.Config{Address: address})
	w.wants(t, "emoji/e", "voting/a")
	began := time.Now()
	deregister(t, client, "a")
	w.wants(t, "emoji/e", "voting/a?")
	w.wants(t, "emoji/e")
	if took := time.Since(began); took < hold || took > hold+5*time.Second {
		t.Errorf("it was held for %v, want %v", took, hold)
	}
	c.reset()
	register(t, client, "emoji", "f", "")
	w.wants(t, "emoji/e", "emoji/f")
	if n := c.reset()["/v1/health/service/voting"]; n > 0 {
		t.Errorf("it is watched yet: %d queries", n)
	}
	register(t, client, "voting", "a", "")
	w.wants(t, "emoji/e", "emoji/f", "voting/a")
}

func TestTheSourceEmitsTheInstancesOfTheCatalog(t *testing.T) {
	agent := consultest.Start(t)
	client := agent.Client(t)
	three(t, client)
	c, err := consul.New(consul.Config{Address: agent.Address()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(context.Background())
	outputs, done := make(chan source.Output, 100), make(chan error, 1)
	go func() {
		done <- New(Config{Client: c, Self: "r1"}).Run(ctx, func(out source.Output) { outputs <- out })
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for n, generation := 4, uint64(0); n <= 5; n++ {
		var out source.Output
		select {
		case out = <-outputs:
		case <-time.After(patience):
			t.Fatalf("nothing after %v", patience)
		}
		if out.Err != nil || len(out.Endpoints) != n || out.Generation <= generation {
			t.Fatalf("got %d endpoints in generation %d, error %v; want %d, and each generation after the last", len(out.Endpoints), out.Generation, out.Err, n)
		}
		generation = out.Generation
		register(t, client, "voting", "d", "")
	}
}
