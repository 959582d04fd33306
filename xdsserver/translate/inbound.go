package translate

import (
	"net/netip"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

const (
	// permissiveKey is where servers of ours read until when they are permissive.
	permissiveKey = "permissive_until"
	// healthService is open to everybody: who watches a process has no identity of
	// the mesh, and a process nobody may watch is taken for a dead one.
	healthService = "/grpc.health.v1.Health/"
	managerFilter = "envoy.filters.network.http_connection_manager"
)

// Inbound returns what the service's own servers start from and decide by: a
// Listener and a RouteConfiguration for ours, and for stock xDS servers (gRFC A36)
// Listeners for the addresses of static endpoints. There are none without a trust
// domain, and servers that have none take no call.
//
// All that policies say is in the RouteConfiguration, and the Listeners do not
// change with them: a stock server drains all its connections when its Listener
// changes.
func (in Input) Inbound() []Resource {
	if in.Domain.Name == "" {
		return nil
	}
	name := resource.ServerListener(in.Service.Name.String())
	own := serverListener(name, name, anyAddress)
	own.Metadata = permissive(in.PermissiveUntil)
	resources := []Resource{
		{resource.ListenerType, name, own},
		{resource.RouteType, name, inboundRoutes(in, name)},
	}
	for _, a := range in.stockAddresses() {
		name := name + "/" + a.String()
		resources = append(resources, Resource{
			resource.ListenerType, name, serverListener(name, resource.ServerListener(in.Service.Name.String()), a),
		})
	}
	return resources
}

// anyAddress is written where the address says nothing: ours listen where the
// application tells them to.
var anyAddress = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)

// stockAddresses are those that a stock server of the service may listen on: the
// addresses of static endpoints, and the wildcards with their ports. It asks for
// the Listener of the very text of its own address (gRFC A36).
func (in Input) stockAddresses() []netip.AddrPort {
	var all []netip.AddrPort
	seen := map[netip.AddrPort]bool{}
	add := func(a netip.AddrPort) {
		if !seen[a] {
			seen[a] = true
			all = append(all, a)
		}
	}
	for _, e := range in.Service.Endpoints {
		for _, s := range e.Addresses {
			a, err := netip.ParseAddrPort(s)
			if err != nil {
				continue // the model's checks refuse it
			}
			add(a)
			add(netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port()))
			add(netip.AddrPortFrom(netip.IPv6Unspecified(), a.Port()))
		}
	}
	return all
}

// permissive is nil for a server that never is.
func permissive(until time.Time) *corev3.Metadata {
	if until.IsZero() {
		return nil
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{metadataKey: {Fields: map[string]*structpb.Value{
		permissiveKey: structpb.NewStringValue(until.UTC().Format(time.RFC3339)),
	}}}}
}

// What all servers' resources have in common. Messages are not changed once they
// are made, and a mesh has thousands of these.
var (
	serverTLS     = downstreamTLS()
	serverFilters = []*hcmv3.HttpFilter{
		filter(resource.AccessDenyFilter, filterOf(rules{action: rbacv3.RBAC_DENY}, nil)),
		filter(resource.AccessAllowFilter, filterOf(rules{action: rbacv3.RBAC_ALLOW}, nil)),
		filter(routerFilter, &routerv3.Router{}),
	}
	healthRoute = inboundRoute("health", healthService,
		perRoute(rules{action: rbacv3.RBAC_DENY}, nil),
		perRoute(rules{rbacv3.RBAC_ALLOW, map[string]*rbacv3.Policy{"health": everything(anyPrincipal())}}, nil))
)

// serverListener denies all by itself: a route that came without its rules would
// otherwise be open.
func serverListener(name, routes string, a netip.AddrPort) *listenerv3.Listener {
	manager := &hcmv3.HttpConnectionManager{
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: ads(), RouteConfigName: routes}},
		HttpFilters:    serverFilters,
	}
	return &listenerv3.Listener{
		Name: name,
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address:       a.Addr().String(),
			PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
		}}},
		FilterChains: []*listenerv3.FilterChain{{
			TransportSocket: serverTLS,
			Filters: []*listenerv3.Filter{{
				Name:       managerFilter,
				ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(manager)},
			}},
		}},
	}
}

func filter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(config)}}
}

// inboundRoutes has two routes: health, which everybody may watch, and all else,
// which policies decide about.
func inboundRoutes(in Input, name string) *routev3.RouteConfiguration {
	denies, allows := in.access()
	access := inboundRoute("access", "/", denies, allows)
	if m := in.admission(); proto.Size(m) > 0 {
		override(access, resource.AdmissionFilter, optional(m))
	}
	return &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{{
		Name:    name,
		Domains: []string{"*"},
		Routes: []*routev3.Route{
			healthRoute,
			access,
		},
	}}}
}

func inboundRoute(name, prefix string, deny, allow *anypb.Any) *routev3.Route {
	return &routev3.Route{
		Name:   name,
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: prefix}},
		Action: &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}},
		TypedPerFilterConfig: map[string]*anypb.Any{
			resource.AccessDenyFilter:  deny,
			resource.AccessAllowFilter: allow,
		},
	}
}
