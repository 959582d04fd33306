package resource_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/authz"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// addressed gives connections in memory an address with a port, which grpc-go's
// engine wants to know.
type addressed struct{ *bufconn.Listener }

func (a addressed) Accept() (net.Conn, error) {
	conn, err := a.Listener.Accept()
	return addressedConn{conn}, err
}

type addressedConn struct{ net.Conn }

func (addressedConn) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80} }

// serverContext returns the context of a real call, as its interceptor saw it: the
// engine takes the connection from it, which nothing public puts there.
func serverContext(tb testing.TB) context.Context {
	tb.Helper()
	listener := bufconn.Listen(1 << 10)
	seen := make(chan context.Context, 1)
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		seen <- stream.Context()
		return nil
	}))
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Serve(addressed{listener}); err != nil {
			tb.Error(err)
		}
	})
	defer running.Wait()
	defer server.Stop()
	conn, err := grpc.NewClient("passthrough:///engine", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	// The handler sends no response, which is an error to a unary call.
	if err := conn.Invoke(context.Background(), vote, &emptypb.Empty{}, &emptypb.Empty{}); status.Code(err) == codes.Unavailable {
		tb.Fatal(err)
	}
	return <-seen
}

// methodStream is how grpc-go's engine learns the method.
type methodStream struct {
	grpc.ServerTransportStream

	method string
}

func (s methodStream) Method() string { return s.method }

// callContext is the context of a call that reached a server.
func callContext(server context.Context, tb testing.TB, c accessCall) context.Context {
	tb.Helper()
	p := &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 40_000}}
	if c.id != "" {
		id, err := url.Parse(c.id)
		if err != nil {
			tb.Fatal(err)
		}
		p.AuthInfo = credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{{URIs: []*url.URL{id}}}}}
	}
	ctx := peer.NewContext(server, p)
	ctx = metadata.NewIncomingContext(ctx, c.md)
	return grpc.NewContextWithServerTransportStream(ctx, methodStream{method: c.method})
}

// grpcEngine compiles the rules by grpc-go.
func grpcEngine(tb testing.TB, deny, allow []accessRule) *authz.StaticInterceptor {
	tb.Helper()
	list := func(rules []accessRule) []any {
		var out []any
		for _, rule := range rules {
			request := map[string]any{}
			if len(rule.paths) > 0 {
				request["paths"] = rule.paths
			}
			var headers []any
			for _, h := range rule.headers {
				headers = append(headers, map[string]any{"key": h.key, "values": h.values})
			}
			if len(headers) > 0 {
				request["headers"] = headers
			}
			out = append(out, map[string]any{"name": rule.name, "source": map[string]any{"principals": rule.principals}, "request": request})
		}
		return out
	}
	policy := map[string]any{"name": "p", "allow_rules": list(allow)}
	if len(deny) > 0 {
		policy["deny_rules"] = list(deny)
	}
	text, err := json.Marshal(policy)
	if err != nil {
		tb.Fatal(err)
	}
	engine, err := authz.NewStatic(string(text))
	if err != nil {
		tb.Fatalf("%v\n%s", err, text)
	}
	return engine
}

func grpcAllows(ctx context.Context, tb testing.TB, engine *authz.StaticInterceptor) bool {
	tb.Helper()
	_, err := engine.UnaryInterceptor(ctx, nil, nil, func(context.Context, any) (any, error) { return nil, nil })
	if err != nil && status.Code(err) != codes.PermissionDenied {
		tb.Fatal(err)
	}
	return err == nil
}

// outcomes counts what calls came to.
type outcomes struct{ allowed, denied, listed, odd int }

// compareAccess decides calls by random rules here and by grpc-go.
func compareAccess(server context.Context, tb testing.TB, r *rand.Rand, calls int, seen *outcomes) {
	tb.Helper()
	var deny []accessRule
	if !chance(r, 3) {
		deny = randomRuleList(r, "deny", 2)
	}
	allow := randomRuleList(r, "allow", 5)
	theirs := grpcEngine(tb, deny, allow)
	access := deciding(tb, denying(encodeRules(r, deny)), allowing(encodeRules(r, allow)))
	for range calls {
		call := randomAccessCall(r)
		got := access.Decide(&resource.Caller{ID: call.id}, call.method, call.md)
		if slices.Contains(poolOdd, call.method) {
			if seen.odd++; got != (resource.Decision{}) {
				tb.Fatalf("%q is allowed or denied by a policy: %+v", call.method, got)
			}
			continue
		}
		if want := grpcAllows(callContext(server, tb, call), tb, theirs); got.Allowed != want {
			tb.Fatalf("grpc-go says %v, this package %+v, of %+v\ndeny %+v\nallow %+v", want, got, call, deny, allow)
		}
		switch i := slices.IndexFunc(slices.Concat(deny, allow), func(rule accessRule) bool { return rule.name == got.Policy }); {
		case i < 0: // for want of a rule that allows it
			if seen.denied++; got.Allowed || slices.ContainsFunc(allow, func(rule accessRule) bool { return rule.matches(call) }) {
				tb.Fatalf("got %+v of %+v by %+v", got, call, allow)
			}
		case got.Allowed:
			if seen.allowed++; !allow[i-len(deny)].matches(call) {
				tb.Fatalf("got %+v of %+v, and it is none of %+v", got, call, allow[i-len(deny)])
			}
		default:
			if seen.listed++; !deny[i].matches(call) {
				tb.Fatalf("got %+v of %+v, and it is none of %+v", got, call, deny[i])
			}
		}
	}
}

// TestAccessIsDecidedAsGRPCDoes is the oracle: 100,000 calls, by 5,000 sets of
// rules, are allowed here exactly when grpc-go's RBAC engine allows them, and a
// policy that is named is one that matches.
func TestAccessIsDecidedAsGRPCDoes(t *testing.T) {
	sets, calls := 5_000, 22 // one in 20 is of a method that is not compared
	if testing.Short() || raceEnabled {
		sets = 100
	}
	server := serverContext(t)
	var seen outcomes
	for seed := range sets {
		compareAccess(server, t, rand.New(rand.NewPCG(uint64(seed), 7)), calls, &seen)
	}
	t.Logf("compared %d: %+v", seen.allowed+seen.denied+seen.listed, seen)
	if few := sets * calls / 20; seen.allowed < few || seen.denied < few || seen.listed < few {
		t.Errorf("%+v: too few to compare", seen)
	}
	if n := seen.allowed + seen.denied + seen.listed; n < sets*20 {
		t.Errorf("%d pairs are too few", n)
	}
}

func FuzzAccessAgainstGRPC(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, seed*seed)
	}
	server := serverContext(f)
	f.Fuzz(func(t *testing.T, a, b uint64) {
		compareAccess(server, t, rand.New(rand.NewPCG(a, b)), 20, &outcomes{})
	})
}

// TestTheOracleSeesADifference shows that the comparison is about something.
func TestTheOracleSeesADifference(t *testing.T) {
	rule := accessRule{name: "shop/a/allow/0", principals: []string{web}, paths: []string{vote}}
	engine, server := grpcEngine(t, nil, []accessRule{rule}), serverContext(t)
	for _, tt := range []struct {
		id, method string
		want       bool
	}{
		{web, vote, true},
		{payment, vote, false},
		{"", vote, false},
		{web, "/shop.Cart/Add", false},
	} {
		t.Run(fmt.Sprintf("%q calls %s: %v", tt.id, tt.method, tt.want), func(t *testing.T) {
			call := accessCall{id: tt.id, method: tt.method}
			if got := grpcAllows(callContext(server, t, call), t, engine); got != tt.want || rule.matches(call) != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
