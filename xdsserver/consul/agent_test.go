package consul_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
)

const root = "3f7c2d1e-root"

// A site is a Consul server for all tests that can share one.
type site struct {
	*consultest.Agent
	authority *authority
	socket    string
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "tulle") //nolint:usetesting // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &site{authority: newAuthority(t, "authority"), socket: filepath.Join(dir, "consul.sock")}
	cert, key := s.authority.issue(t, "server")
	s.Agent = consultest.Start(t, consultest.ACLs(root), consultest.HTTPS(s.authority.file, cert, key), consultest.Socket(s.socket),
		consultest.With("limits", map[string]any{"http_max_conns_per_client": 200})) // Consul's own
	return s
}

// connect returns a client that may do anything, unless the Config says otherwise.
func (s *site) connect(t *testing.T, config consul.Config) *consul.Client {
	t.Helper()
	if config.Address == "" {
		config.Address = s.Address()
	}
	if config.Token == "" && config.TokenFile == "" {
		config.Token = root
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := consul.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// token makes one with rules.
func (s *site) token(t *testing.T, rules string) string {
	t.Helper()
	acl := s.Client(t).ACL()
	policy, _, err := acl.PolicyCreate(&api.ACLPolicy{Name: fmt.Sprint("test-", time.Now().UnixNano()), Rules: rules}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := acl.TokenCreate(&api.ACLToken{Policies: []*api.ACLTokenPolicyLink{{ID: policy.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return token.SecretID
}

// within polls until what is waited for is there.
func within(t *testing.T, d time.Duration, what string, ready func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		if time.Since(began) > d {
			t.Fatalf("%s: not within %v", what, d)
		}
		<-tick.C
	}
	return time.Since(began)
}

// rest lets time pass in which an agent, or nobody, does something.
func rest(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// hears waits until a witness is told a text last.
func (w *witness) hears(t *testing.T, d time.Duration, text string) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var all []string
	for {
		all = append(all, w.take()...)
		if n := len(all); n > 0 && strings.Contains(all[n-1], text) {
			return time.Since(began)
		}
		if time.Since(began) > d {
			t.Fatalf("not told %q within %v, but %q", text, d, all)
		}
		<-tick.C
	}
}

// One agent serves all of it, and is restarted last.
func TestWithARealAgent(t *testing.T) {
	s := newSite(t)
	t.Run("side by side", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *site){
			"a change is told at once":                       testLatency,
			"keys are written by check and set":              testKeys,
			"a refusal names the rule":                       testRefusal,
			"what ACLs keep back is said":                    testFiltered,
			"a token in a file takes effect":                 testTokenFile,
			"it is reached by a socket":                      testSocket,
			"one connection over TLS carries many queries":   testShared,
			"TLS that cannot work is explained":              testTLSErrors,
			"a crowd never has more connections":             testCrowd,
			"one of two leads":                               testLead,
			"a leader that is cut off is followed":           testLeaderCut,
			"a leader whose session was destroyed is none":   testSessionDestroyed,
			"who cannot lead says so once and leads at last": testLeadRefused,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, s)
			})
		}
	})
	t.Run("a restored snapshot is read anew", func(t *testing.T) { testRestore(t, s) })
	t.Run("an agent that restarts", func(t *testing.T) { testRestart(t, s) })
}

func testLatency(t *testing.T, s *site) {
	c := s.connect(t, consul.Config{Prefix: "latency"})
	w, _ := follow(t, c)
	w.hears(t, 10*time.Second, "")
	var took []time.Duration
	for i := range 20 {
		text := fmt.Sprint("value ", i)
		if _, err := s.Client(t).KV().Put(&api.KVPair{Key: c.Key("x"), Value: []byte(text)}, nil); err != nil {
			t.Fatal(err)
		}
		took = append(took, w.hears(t, 5*time.Second, text))
	}
	slices.Sort(took)
	t.Logf("a change is told after %v (median), %v (most)", took[len(took)/2], took[len(took)-1])
	if median := took[len(took)/2]; median > 250*time.Millisecond {
		t.Errorf("the median is %v", median)
	}
}

func testKeys(t *testing.T, s *site) {
	c := s.connect(t, consul.Config{Prefix: "keys"})
	ctx := t.Context()
	long := slices.Repeat([]byte{'x'}, consul.MaxValue)
	index, err := c.Put(ctx, "a/1", long, 0)
	if err != nil {
		t.Fatalf("a value of MaxValue: %v", err)
	}
	for name, at := range map[string]uint64{"create what is there": 0, "another index": index + 5} {
		if _, err := c.Put(ctx, "a/1", nil, at); !errors.Is(err, consul.ErrConflict) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if index, err = c.Put(ctx, "a/1", []byte("2"), index); err != nil {
		t.Fatal(err)
	}
	pair, ok, err := c.Get(ctx, "a/1")
	if err != nil || !ok || string(pair.Value) != "2" || pair.Index != index || pair.Key != "a/1" {
		t.Errorf("got %+v, %v, %v", pair, ok, err)
	}
	if _, ok, err := c.Get(ctx, "a/2"); ok || err != nil {
		t.Errorf("a key that is not there: got %v, %v", ok, err)
	}
	ops := make([]*api.KVTxnOp, 0, consul.MaxOps)
	for i := range consul.MaxOps {
		ops = append(ops, c.PutOp(fmt.Sprintf("b/%02d", i), []byte{byte(i)}, 0))
	}
	if written, err := c.Transact(ctx, ops...); err != nil || len(written) != consul.MaxOps {
		t.Errorf("the most parts: %d written, %v", len(written), err)
	}
	if _, err := c.Transact(ctx, c.PutOp("c", nil, 0), c.DeleteOp("a/1", index+1)); !errors.Is(err, consul.ErrConflict) {
		t.Errorf("a transaction with one condition that does not hold: got %v", err)
	}
	if _, ok, _ := c.Get(ctx, "c"); ok {
		t.Error("a part of a transaction was done that was rolled back")
	}
	list, err := c.List(ctx, "b/")
	if err != nil || len(list) != consul.MaxOps || list[63].Key != "b/63" || list[63].Value[0] != 63 {
		t.Errorf("list: %d, %v", len(list), err)
	}
	if err := c.Delete(ctx, "a/1", index-1); !errors.Is(err, consul.ErrConflict) {
		t.Errorf("delete at another index: got %v", err)
	}
	if err := c.Delete(ctx, "a/1", index); err != nil {
		t.Error(err)
	}
	if list, err = c.List(ctx, "a/"); err != nil || len(list) != 0 {
		t.Errorf("list of nothing: %v, %v", list, err)
	}
}

func testRefusal(t *testing.T, s *site) {
	c := s.connect(t, consul.Config{Token: s.token(t, `key_prefix "other/" { policy = "write" }`)})
	w, _ := follow(t, c)
	w.hears(t, 5*time.Second, "lacks permission 'key:read' on \"tulle/x\"")
	ctx := t.Context()
	_, put := c.Put(ctx, "x", nil, 0)
	_, _, get := c.Get(ctx, "x")
	err := c.Lead(expired(t), consul.Leadership{Key: "lock", Do: func(context.Context, consul.Fence) error { return nil }})
	if err != nil {
		t.Errorf("Lead returned %v", err)
	}
	for name, test := range map[string]struct {
		err  error
		want string
	}{"put": {put, "'key:write' on \"tulle/x\""}, "get": {get, "'key:read' on \"tulle/x\""}} {
		if !consul.Denied(test.err) || errors.Is(test.err, consul.ErrConflict) || !strings.Contains(fmt.Sprint(test.err), test.want) ||
			strings.Count(fmt.Sprint(test.err), "Permission denied") != 1 || !strings.Contains(test.err.Error(), "docs/consul.md") {
			t.Errorf("%s: got %v, want a refusal that names %s", name, test.err, test.want)
		}
	}
	unknown := s.connect(t, consul.Config{Token: "5c2b-unknown"})
	if _, _, err := unknown.Get(ctx, "x"); !consul.Denied(err) || strings.Contains(err.Error(), "5c2b") {
		t.Errorf("a token that is unknown: got %v", err)
	}
}

// expired is a context that has ended.
func expired(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func testFiltered(t *testing.T, s *site) {
	if err := s.Client(t).Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "secret"}); err != nil {
		t.Fatal(err)
	}
	c := s.connect(t, consul.Config{Token: s.token(t, `node_prefix "" { policy = "read" }`)})
	answers := make(chan consul.Answer[map[string][]string], 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- consul.Follow(ctx, c, consul.Watch[map[string][]string]{
			What: "services",
			Fetch: func(q *api.QueryOptions) (map[string][]string, *api.QueryMeta, error) {
				return c.API().Catalog().Services(q)
			},
			Emit: func(a consul.Answer[map[string][]string]) { answers <- a },
		})
	}()
	a := <-answers
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if a.Err != nil || !a.Filtered || a.DefaultPolicy != "deny" || len(a.Value) != 0 {
		t.Errorf("got %+v, want nothing, filtered, by a policy that denies", a)
	}
}

func testTokenFile(t *testing.T, s *site) {
	file := filepath.Join(t.TempDir(), "token")
	put := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(s.token(t, `key_prefix "other/" { policy = "read" }`))
	c := s.connect(t, consul.Config{TokenFile: file, Prefix: "renewed"})
	w, _ := follow(t, c)
	w.hears(t, 5*time.Second, "lacks permission")
	put(root)
	w.hears(t, 6*time.Second, "")
	within(t, 6*time.Second, "write with the new token", func() bool {
		_, err := c.Put(t.Context(), "x", []byte("1"), 0)
		return err == nil || errors.Is(err, consul.ErrConflict)
	})
	w.hears(t, 6*time.Second, "1")
}

func testSocket(t *testing.T, s *site) {
	c := s.connect(t, consul.Config{Address: "unix://" + s.socket, Prefix: "socket"})
	if _, err := c.Put(t.Context(), "x", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	w, _ := follow(t, c)
	w.hears(t, 5*time.Second, "1")
	if _, err := c.Signer(""); err == nil || !strings.Contains(err.Error(), "--consul-grpc") {
		t.Errorf("a signer without a host: got %v", err)
	}
	away := s.connect(t, consul.Config{Address: "unix://" + s.socket + ".away"})
	if _, _, err := away.Get(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "consul.sock.away") || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a socket that is not there: got %v", err)
	}
}
