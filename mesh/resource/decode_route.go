package resource

import (
	"fmt"
	"strings"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// DecodeRouteConfiguration decodes and validates the bytes of a
// RouteConfiguration message (gRFC A28, A31). The error is a *[DecodeError].
func DecodeRouteConfiguration(value []byte) (*RouteConfiguration, error) {
	var m xdsv3.RouteConfiguration
	if err := unmarshal(value, &m); err != nil {
		return nil, refuse(RouteType, "", err)
	}
	if m.GetName() == "" {
		return nil, refuse(RouteType, "", bad("name", "is empty"))
	}
	r, err := decodeRoutes(&m)
	if err != nil {
		return nil, refuse(RouteType, m.GetName(), err)
	}
	return r, nil
}

// decodeRoutes reads a route configuration that stands alone or in a listener;
// there it needs no name.
func decodeRoutes(m *xdsv3.RouteConfiguration) (*RouteConfiguration, error) {
	if err := known(m); err != nil {
		return nil, err
	}
	d := routeDecoder{out: &RouteConfiguration{Name: m.GetName()}}
	if err := d.plugins(m.GetClusterSpecifierPlugins()); err != nil {
		return nil, err
	}
	domains, routes := 0, 0
	for i, vh := range m.GetVirtualHosts() {
		if domains += len(vh.GetDomains()); domains > maxDomains {
			return nil, bad("virtual_hosts", "have more than %d domains", maxDomains)
		}
		if routes += len(vh.GetRoutes()); routes > maxRoutes {
			return nil, bad("virtual_hosts", "have more than %d routes", maxRoutes)
		}
		d.path = fmt.Sprintf("virtual_hosts[%d]", i)
		host, err := d.virtualHost(vh)
		if err != nil {
			return nil, under(d.path, err)
		}
		d.out.VirtualHosts = append(d.out.VirtualHosts, host)
	}
	return d.out, nil
}

type routeDecoder struct {
	out     *RouteConfiguration
	path    string          // of the virtual host at hand
	plugged map[string]bool // the cluster specifier plugins that routes may name
	retry   *Retry          // the virtual host's standard policy; nil for none
}

// skip notes why a route is left out.
func (d *routeDecoder) skip(i int, reason string, args ...any) {
	d.out.Skipped = append(d.out.Skipped, fmt.Sprintf("%s.routes[%d]: %s", d.path, i, fmt.Sprintf(reason, args...)))
}

// plugins reads the cluster specifier plugins. There is none this client has,
// so only optional ones pass, and the routes that name them are left out.
func (d *routeDecoder) plugins(list []*xdsv3.ClusterSpecifierPlugin) error {
	d.plugged = make(map[string]bool, len(list))
	for i, p := range list {
		if !p.GetIsOptional() {
			return at("cluster_specifier_plugins", i, bad("", "%q: no plugin of type %q is known; mark it optional if clients may go without",
				p.GetExtension().GetName(), p.GetExtension().GetTypedConfig().GetTypeUrl()))
		}
		d.plugged[p.GetExtension().GetName()] = true
	}
	return nil
}

func (d *routeDecoder) virtualHost(m *xdsv3.VirtualHost) (*VirtualHost, error) {
	if err := known(m); err != nil {
		return nil, err
	}
	vh := &VirtualHost{Name: m.GetName(), Domains: m.GetDomains()}
	for i, domain := range vh.Domains {
		// grpc-go accepts it and then fails every call of the service.
		if kind, _ := splitDomain(domain); kind == domainInvalid {
			return nil, at("domains", i, bad("", "%q can match nothing: it may have one *, at its start or its end", domain))
		}
	}
	var err error
	if d.retry, err = decodeRetryPolicy(m.GetRetryPolicy()); err != nil {
		return nil, under("retry_policy", err)
	}
	for i, r := range m.GetRoutes() {
		route, err := d.route(i, r)
		if err != nil {
			return nil, at("routes", i, err)
		}
		if route != nil {
			vh.Routes = append(vh.Routes, route)
		}
	}
	vh.Fault, err = decodeFaultOverride(m.GetTypedPerFilterConfig())
	return vh, err
}

// route returns nil for a route that is to be skipped (gRFC A28).
func (d *routeDecoder) route(i int, m *xdsv3.Route) (*Route, error) {
	if m.GetMatch() == nil {
		return nil, bad("match", "is missing")
	}
	if len(m.GetMatch().GetQueryParameters()) > 0 {
		d.skip(i, "matches on query parameters, which gRPC calls do not have")
		return nil, nil
	}
	match, err := decodeMatch(m.GetMatch())
	if err != nil {
		return nil, under("match", err)
	}
	r := &Route{Name: m.GetName(), match: *match}
	switch action := m.GetAction().(type) {
	case *xdsv3.Route_Route:
		ok, err := d.action(i, r, action.Route)
		if err != nil {
			return nil, under("route", err)
		}
		if !ok {
			return nil, nil
		}
	case *xdsv3.Route_NonForwardingAction:
		r.inbound = true
		r.Unsupported = "its action is non_forwarding_action, which is a server's"
	case *xdsv3.Route_Redirect:
		r.Unsupported = "its action is redirect, which gRPC has not"
	case *xdsv3.Route_DirectResponse:
		r.Unsupported = "its action is direct_response, which gRPC has not"
	default:
		r.Unsupported = "it has no action that a gRPC client can carry out"
	}
	if err := known(m); err != nil {
		return nil, err
	}
	place := overrideRoute
	if r.inbound {
		place = overrideInbound
	}
	changed, err := decodeOverrides(m.GetTypedPerFilterConfig(), place)
	if err != nil {
		return nil, err
	}
	r.Fault, r.Access, r.Admission = changed.fault, changed.access, changed.admission
	if changed.traffic != nil {
		r.Traffic = changed.traffic // over what the standard fields say
	}
	if r.Access != nil || r.Admission != nil {
		if err := r.match.byPath(); err != nil {
			return nil, under("match", err)
		}
	}
	return r, nil
}

// action reads where a route sends its calls. It reports false where the route
// is to be skipped: the ways to name a cluster that gRPC does not have may be
// new ones, for newer clients.
func (d *routeDecoder) action(i int, r *Route, m *xdsv3.RouteAction) (bool, error) {
	if err := refuseRewrites(m.GetHashPolicy()); err != nil {
		return false, err
	}
	switch spec := m.GetClusterSpecifier().(type) {
	case *xdsv3.RouteAction_Cluster:
		if spec.Cluster == "" {
			return false, bad("cluster", "is empty")
		}
		r.Clusters, r.TotalWeight = []WeightedCluster{{Name: spec.Cluster, Weight: 1}}, 1
	case *xdsv3.RouteAction_WeightedClusters:
		if err := r.split(spec.WeightedClusters); err != nil {
			return false, under("weighted_clusters", err)
		}
	case *xdsv3.RouteAction_ClusterSpecifierPlugin:
		if !d.plugged[spec.ClusterSpecifierPlugin] {
			return false, bad("cluster_specifier_plugin", "%q is not among cluster_specifier_plugins", spec.ClusterSpecifierPlugin)
		}
		d.skip(i, "its cluster specifier plugin %q is optional and not known", spec.ClusterSpecifierPlugin)
		return false, nil
	default:
		d.skip(i, "says where to send calls in a way that gRPC clients do not know")
		return false, nil
	}
	if err := known(m); err != nil {
		return false, err
	}
	retry, err := decodeRetryPolicy(m.GetRetryPolicy())
	if err != nil {
		return false, under("retry_policy", err)
	}
	hashHeader, err := decodeHashPolicy(m.GetHashPolicy())
	if err != nil {
		return false, err
	}
	r.Traffic = standardTraffic(retry, d.retry, hashHeader)
	return true, under("max_stream_duration", r.bound(m.GetMaxStreamDuration()))
}

func (r *Route) split(m *xdsv3.WeightedCluster) error {
	if err := known(m); err != nil {
		return err
	}
	if n := len(m.GetClusters()); n > maxBackends {
		return bad("clusters", "are %d, at most %d are accepted", n, maxBackends)
	}
	var total uint64
	for i, c := range m.GetClusters() {
		weight := c.GetWeight().GetValue()
		if weight == 0 {
			continue // before any other check, as in grpc-go: it takes no call
		}
		if total += uint64(weight); total > maxWeight {
			return at("clusters", i, bad("weight", "makes the sum exceed %d", maxWeight))
		}
		if err := known(c); err != nil {
			return at("clusters", i, err)
		}
		if c.GetName() == "" {
			return at("clusters", i, bad("name", "is empty"))
		}
		fault, err := decodeFaultOverride(c.GetTypedPerFilterConfig())
		if err != nil {
			return at("clusters", i, err)
		}
		r.Clusters = append(r.Clusters, WeightedCluster{Name: c.GetName(), Weight: weight, Fault: fault})
	}
	if total == 0 {
		return bad("clusters", "have no weight above zero")
	}
	r.TotalWeight = uint32(total)
	return nil
}

// bound reads the route's timeout: grpc_timeout_header_max before
// max_stream_duration (gRFC A31).
func (r *Route) bound(m *xdsv3.RouteAction_MaxStreamDuration) error {
	if err := known(m); err != nil {
		return err
	}
	field, d := "grpc_timeout_header_max", m.GetGrpcTimeoutHeaderMax()
	if d == nil {
		field, d = "max_stream_duration", m.GetMaxStreamDuration()
	}
	if d == nil {
		return nil
	}
	timeout, err := duration(d)
	if err != nil {
		return under(field, err)
	}
	r.Timeout = &timeout
	return nil
}

// A domainKind orders the ways a domain matches, the best last (gRFC A27).
type domainKind int

const (
	domainInvalid domainKind = iota
	domainUniversal
	domainPrefix
	domainSuffix
	domainExact
)

// splitDomain returns what is left of domain without its wildcard.
func splitDomain(domain string) (kind domainKind, text string) {
	stars := strings.Count(domain, "*")
	switch {
	case domain == "":
		return domainInvalid, ""
	case stars == 0:
		return domainExact, domain
	case domain == "*":
		return domainUniversal, ""
	case domain[0] == '*':
		return domainSuffix, domain[1:]
	case domain[len(domain)-1] == '*':
		return domainPrefix, domain[:len(domain)-1]
	default:
		return domainInvalid, ""
	}
}
