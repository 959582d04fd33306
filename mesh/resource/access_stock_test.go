package resource_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/xds"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// told are credentials of a mesh that believes what it is told: a client writes its
// SPIFFE id, and a server takes it for one from a certificate. grpc-go's RBAC cannot
// tell them from TLS.
type told struct{ id string }

var _ credentials.TransportCredentials = told{}

// toldInfo lets calls have any authority: each picks rules of its own.
type toldInfo struct{ credentials.CommonAuthInfo }

func (toldInfo) AuthType() string               { return "told" }
func (toldInfo) ValidateAuthority(string) error { return nil }

func (c told) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if _, err := conn.Write(append([]byte{byte(len(c.id))}, c.id...)); err != nil {
		return nil, nil, err
	}
	return conn, toldInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
}

func (c told) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	size := make([]byte, 1)
	if _, err := io.ReadFull(conn, size); err != nil {
		return nil, nil, err
	}
	id := make([]byte, size[0])
	if _, err := io.ReadFull(conn, id); err != nil {
		return nil, nil, err
	}
	if len(id) == 0 {
		return conn, toldInfo{}, nil
	}
	u, err := url.Parse(string(id))
	if err != nil {
		return nil, nil, err
	}
	return conn, credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{{URIs: []*url.URL{u}}}}}, nil
}

func (c told) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "told"}
}
func (c told) Clone() credentials.TransportCredentials { return c }
func (c told) OverrideServerName(string) error         { return errors.New("has none") }

// stockServer runs grpc-go's own xDS server by a RouteConfiguration until the test ends,
// and returns who asks it whether it takes a call of an authority.
func stockServer(t *testing.T, config *routev3.RouteConfiguration) (allows func(authority string, c accessCall) bool) {
	t.Helper()
	ads, _ := newADS(t, func(a answer) {
		if a.err != "" {
			t.Errorf("grpc-go refuses %s: %s", a.typeURL, a.err)
		}
	})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := lis.Addr().String()
	manager := &hcmv3.HttpConnectionManager{RouteSpecifier: byRDS(config.GetName()), HttpFilters: accessFilters(t)}
	ads.publish(t, resource.RouteType, config.GetName(), config)
	ads.publish(t, resource.ListenerType, address, &listenerv3.Listener{
		Name: address, Address: tcp("127.0.0.1", uint32(lis.Addr().(*net.TCPAddr).Port)),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "http", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(t, manager)},
		}}}},
	})
	bootstrap, err := json.Marshal(map[string]any{
		"xds_servers": []any{map[string]any{
			"server_uri":    "passthrough:///ads",
			"channel_creds": []any{map[string]any{"type": "memory", "config": t.Name()}},
		}},
		"node": map[string]any{"id": "oracle"}, "server_listener_resource_name_template": "%s",
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := xds.NewGRPCServer(xds.BootstrapContentsForTesting(bootstrap), grpc.Creds(told{}),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			if err := stream.RecvMsg(new(emptypb.Empty)); err != nil {
				return err
			}
			return stream.SendMsg(new(emptypb.Empty))
		}))
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(lis) })
	t.Cleanup(func() {
		server.Stop()
		running.Wait()
	})
	conns := map[string]*grpc.ClientConn{}
	return func(authority string, c accessCall) bool {
		conn := conns[c.id]
		if conn == nil {
			if conn, err = grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(told{id: c.id})); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			conns[c.id] = conn
		}
		ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(t.Context(), c.md), 20*time.Second)
		defer cancel()
		err := conn.Invoke(ctx, c.method, new(emptypb.Empty), new(emptypb.Empty), grpc.CallAuthority(authority), grpc.WaitForReady(true))
		if code := status.Code(err); code != codes.OK && code != codes.PermissionDenied {
			t.Fatalf("%+v: %v", c, err)
		}
		return err == nil
	}
}

// randomPermission is any tree of what is evaluated.
func randomPermission(r *rand.Rand, depth int) *rbacv3.Permission {
	kinds := 8
	if depth == 0 {
		kinds = 5
	}
	list := func() []*rbacv3.Permission {
		all := make([]*rbacv3.Permission, 1+r.IntN(3))
		for i := range all {
			all[i] = randomPermission(r, depth-1)
		}
		return all
	}
	switch r.IntN(kinds) {
	case 0:
		return anyMethod()
	case 1:
		return method(pick(r, poolCalled))
	case 2:
		return urlPath(pick(r, poolPaths)())
	case 3, 4:
		return withHeader(randomHeaderMatcher(r))
	case 5:
		return allOf(list()...)
	case 6:
		return oneOf(list()...)
	default:
		return not(randomPermission(r, depth-1))
	}
}

func randomHeaderMatcher(r *rand.Rand) *routev3.HeaderMatcher {
	m := &routev3.HeaderMatcher{Name: pick(r, poolKeys), InvertMatch: chance(r, 3)}
	value := pick(r, []string{"a", "b", "a,b", "A", "ab"})
	switch r.IntN(7) {
	case 0:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_ExactMatch{ExactMatch: value}
	case 1:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: chance(r, 2)}
	case 2:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_PrefixMatch{PrefixMatch: value}
	case 3:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_SuffixMatch{SuffixMatch: value}
	case 4:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_SafeRegexMatch{SafeRegexMatch: regex(pick(r, []string{".*", "a|b", "[ab],.*", "(?i)A"})).GetSafeRegex()}
	case 5:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_ContainsMatch{ContainsMatch: value}
	default:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: text(value + pick(r, []string{"", "*"}))}
		m.GetStringMatch().IgnoreCase = chance(r, 2)
	}
	return m
}

// randomPrincipal has exceptions now and then.
func randomPrincipal(r *rand.Rand) *rbacv3.Principal {
	one := func() *rbacv3.Principal {
		switch r.IntN(4) {
		case 0:
			return anybody()
		case 1:
			return callers(pick(r, poolIDs), pick(r, poolBelow[1:]))
		default:
			return callers(pick(r, poolIDs))
		}
	}
	if chance(r, 2) {
		return one()
	}
	ids := []*rbacv3.Principal{one()}
	for range 1 + r.IntN(2) {
		ids = append(ids, notCaller(one()))
	}
	r.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return allCallers(ids...)
}

func randomTrees(r *rand.Rand, kind string, most int) policies {
	out := policies{}
	for i := range r.IntN(most + 1) {
		p := &rbacv3.Policy{}
		for range 1 + r.IntN(2) {
			p.Permissions = append(p.Permissions, randomPermission(r, 3))
			p.Principals = append(p.Principals, randomPrincipal(r))
		}
		out[fmt.Sprintf("shop/%d/%s/0", i, kind)] = p
	}
	return out
}

// TestTreesOfRulesAreDecidedAsAStockServerDoes holds what the other oracle cannot write,
// NOT and expressions above all, against a server of grpc-go itself.
func TestTreesOfRulesAreDecidedAsAStockServerDoes(t *testing.T) {
	sets, calls := 400, 25
	if raceEnabled || testing.Short() {
		sets = 60
	}
	r := rand.New(rand.NewPCG(41, 7))
	config := &routev3.RouteConfiguration{Name: "voting"}
	for i := range sets {
		route := inboundRoute(t, "/", denying(randomTrees(r, "deny", 1)), allowing(randomTrees(r, "allow", 3)))
		config.VirtualHosts = append(config.VirtualHosts, &routev3.VirtualHost{
			Name: fmt.Sprint(i), Domains: []string{fmt.Sprintf("set-%d", i)}, Routes: []*routev3.Route{route},
		})
	}
	ours, err := resource.DecodeRouteConfiguration(encode(t, config))
	if err != nil {
		t.Fatal(err)
	}
	theirs := stockServer(t, config)
	var seen outcomes
	for i, vh := range config.GetVirtualHosts() {
		authority := vh.GetDomains()[0]
		access := ours.VirtualHost(authority).Routes[0].Access
		for range calls {
			call := randomAccessCall(r)
			if call.method = pick(r, poolCalled); chance(r, 4) {
				call.md = metadata.MD{}
			}
			got, want := access.Decide(&resource.Caller{ID: call.id}, call.method, call.md).Allowed, theirs(authority, call)
			if got != want {
				t.Fatalf("set %d: grpc-go says %v, this package %v, of %+v by %v", i, want, got, call, vh.GetRoutes()[0])
			}
			if seen.allowed++; !got {
				seen.allowed--
				seen.denied++
			}
		}
	}
	t.Logf("%d calls allowed, %d denied", seen.allowed, seen.denied)
	if total := sets * calls; seen.allowed < total/10 || seen.denied < total/10 {
		t.Errorf("%+v: too few of one kind to tell anything", seen)
	}
}
