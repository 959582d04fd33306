package consul_test

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
)

// secure is a Config for the agent's HTTPS port by way of a wire.
func (s *site) secure(t *testing.T, address string) consul.Config {
	t.Helper()
	cert, key := s.authority.issue(t, "client")
	return consul.Config{Address: address, CAFile: s.authority.file, CertFile: cert, KeyFile: key, ServerName: serverName}
}

func testShared(t *testing.T, s *site) {
	const queries = 300
	w := newWire(t, s.Secure())
	config := s.secure(t, w.addr())
	config.Prefix = "shared"
	c := s.connect(t, config)
	var all []*witness
	for range queries {
		one, _ := follow(t, c)
		all = append(all, one)
	}
	for _, one := range all {
		one.hears(t, 20*time.Second, "")
	}
	open, dialed := w.count()
	t.Logf("%d queries wait on %d connections, of %d dialed", queries, open, dialed)
	if open > 3 || dialed > 10 { // Consul takes 250 queries on one
		t.Errorf("%d connections were dialed, and %d are open, want about 2", dialed, open)
	}
	if watched, room := c.Crowd(); watched != queries || room < queries {
		t.Errorf("crowd is %d over %d", watched, room)
	}
	began := time.Now()
	if _, err := s.Client(t).KV().Put(&api.KVPair{Key: c.Key("x"), Value: []byte("new")}, nil); err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		one.hears(t, 10*time.Second, "new")
	}
	t.Logf("a change was told to %d of them after %v", queries, time.Since(began))

	w.cut()
	all[0].hears(t, 10*time.Second, "consul at https://")
	w.mend()
	all[0].hears(t, 5*time.Second, "new")
}

func testTLSErrors(t *testing.T, s *site) {
	good := s.secure(t, s.Secure())
	if _, _, err := s.connect(t, good).Get(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	other := newAuthority(t, "other")
	strange, strangeKey := other.issue(t, "stranger")
	for _, test := range []struct {
		name   string
		change func(*consul.Config)
		want   string
	}{
		{"another authority", func(c *consul.Config) { c.CAFile = other.file }, "certificate signed by unknown authority"},
		{"another name", func(c *consul.Config) { c.ServerName = "server.dc2.consul" }, "not server.dc2.consul"},
		{"no certificate", func(c *consul.Config) { c.CertFile, c.KeyFile = "", "" }, "it wants a certificate of who asks: give one"},
		{"a stranger's certificate", func(c *consul.Config) { c.CertFile, c.KeyFile = strange, strangeKey }, "certificate"},
		{"no TLS", func(c *consul.Config) { *c = consul.Config{Address: c.Address} }, "HTTP request to an HTTPS server"},
		{"TLS where there is none", func(c *consul.Config) { c.Address = s.Address() }, "server gave HTTP response to HTTPS client"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := good
			test.change(&config)
			_, _, err := s.connect(t, config).Get(t.Context(), "x")
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "read tulle/x: consul at http") {
				t.Errorf("got %v, want an error that says %q", err, test.want)
			}
		})
	}
}

// A turnstile counts the queries that wait in an agent behind it.
type turnstile struct {
	next          http.Handler
	waiting, most atomic.Int64
}

func (c *turnstile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("index") != "" {
		n := c.waiting.Add(1)
		defer c.waiting.Add(-1)
		for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
		}
	}
	c.next.ServeHTTP(w, r)
}

func testCrowd(t *testing.T, s *site) {
	const crowd, connections = 30, 5
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.Address()})
	proxy.ErrorLog = log.New(io.Discard, "", 0) // that queries end before their time
	proxy.Transport = &http.Transport{DialContext: (&net.Dialer{}).DialContext, MaxIdleConnsPerHost: crowd}
	gate := &turnstile{next: proxy}
	srv := httptest.NewServer(gate)
	t.Cleanup(proxy.Transport.(*http.Transport).CloseIdleConnections) //nolint:forcetypeassert // see above
	t.Cleanup(srv.Close)
	c := s.connect(t, consul.Config{Address: srv.Listener.Addr().String(), Connections: connections, Prefix: "crowd"})
	var all []*witness
	for range crowd {
		one, _ := follow(t, c)
		all = append(all, one)
	}
	for _, one := range all {
		one.hears(t, 15*time.Second, "")
	}
	began := time.Now()
	if _, err := s.Client(t).KV().Put(&api.KVPair{Key: c.Key("x"), Value: []byte("new")}, nil); err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		one.hears(t, 15*time.Second, "new")
	}
	t.Logf("a change was told to %d over %d connections after %v", crowd, connections, time.Since(began))
	if most := gate.most.Load(); most != connections {
		t.Errorf("%d queries waited at one time, want %d", most, connections)
	}
}
