// Package translate turns a model.Set into xDS resources.
//
// It is pure: the same set gives the same messages in the same order, on every
// machine and in every run. Each service is translated by itself from its
// [Input], so that who builds snapshots can keep what an unchanged Input gave:
//
//	for _, in := range translate.Inputs(set) {
//		for _, r := range in.Resources() {
//			publish(r.TypeURL, r.Name, r.Message)
//		}
//	}
//
// A service named voting becomes a Listener and a RouteConfiguration "voting", a
// Cluster and a ClusterLoadAssignment "voting" of all its endpoints, and one more
// pair "voting/v2" for each version that a route names. Everything a stock gRPC
// client needs is in the standard fields (gRFCs A27, A28, A29, A31, A32, A33).
//
// Its own servers get a Listener and a RouteConfiguration "tulle/server/voting": who
// may call, as RBAC that stock xDS servers understand, too (gRFCs A36, A41). Policies
// change the RouteConfiguration alone. The trust domain's roots are a TrustBundle. What
// its processes are told to do for a while is Commands "tulle/server/voting/commands".
//
// Nothing here marshals, versions or sends.
package translate

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// A Resource is one xDS resource before it is marshalled.
type Resource struct {
	TypeURL, Name string
	Message       proto.Message
}

// An Input is all that the resources of one service are made from. It is
// immutable, and shares its values with the set.
type Input struct {
	Service *model.Service
	// Routes are those that apply to calls to the service, in order.
	Routes []*model.Route
	// Versions are those that any route of the set sends calls to, sorted.
	Versions []string
	// Endpoints are the service's, in order of instance.
	Endpoints []model.Endpoint
	// Failover is, by version, who takes calls while none of the service's own endpoints
	// does; Elsewhere are the endpoints of those services.
	Failover  map[string][]model.Target
	Elsewhere map[model.ServiceName][]model.Endpoint
	// Domain is where identities are; without a name there are none.
	Domain spiffe.Domain
	// Policies are those that protect the service, in order of namespace and name.
	Policies      []*model.AccessPolicy
	AccessDefault model.AccessDefault
	// PermissiveUntil is the service's own or the mesh's; zero means never.
	PermissiveUntil time.Time
	// HashHeaders are those by which services are balanced that the routes send calls
	// to, beside the service itself. It is nil without any.
	HashHeaders map[model.ServiceName]string
}

// Inputs returns an Input for each service of the set, in order of name.
func Inputs(set *model.Set) []Input {
	routes := map[model.ServiceName][]*model.Route{}
	versions := map[model.ServiceName][]string{}
	failovers := map[model.ServiceName]map[string][]model.Target{}
	for _, r := range set.Routes {
		for _, parent := range r.Parents {
			routes[parent] = append(routes[parent], r)
		}
		for _, rule := range r.Rules {
			for _, b := range rule.Backends {
				if b.Version != "" {
					versions[b.Service] = append(versions[b.Service], b.Version)
				}
				if len(b.Failover) == 0 {
					continue
				}
				if failovers[b.Service] == nil {
					failovers[b.Service] = make(map[string][]model.Target)
				}
				if _, said := failovers[b.Service][b.Version]; !said {
					failovers[b.Service][b.Version] = b.Failover
				}
			}
			for _, m := range rule.Mirrors {
				if m.Version != "" {
					versions[m.Service] = append(versions[m.Service], m.Version)
				}
			}
		}
	}
	policies := policyIndex(set.Policies)
	domain, access := spiffe.Domain{}, model.AccessAuthenticated
	if set.Trust != nil {
		domain = spiffe.Domain{Name: set.Trust.Domain, Datacenter: set.Trust.Datacenter}
	}
	if set.Mesh != nil {
		access = set.Mesh.AccessDefault
	}
	inputs := make([]Input, 0, len(set.Services))
	for name, service := range set.Services {
		v := versions[name]
		slices.Sort(v)
		inputs = append(inputs, Input{
			Service:   service,
			Routes:    routes[name],
			Versions:  slices.Compact(v),
			Endpoints: set.Endpoints[name],

			Domain:          domain,
			Policies:        policies.of(name),
			AccessDefault:   access,
			PermissiveUntil: set.Permissive(service),
			HashHeaders:     hashHeaders(set, service, routes[name]),
			Failover:        failovers[name],
			Elsewhere:       elsewhere(set, failovers[name]),
		})
	}
	slices.SortFunc(inputs, func(a, b Input) int { return a.Service.Name.Compare(b.Service.Name) })
	return inputs
}

// Translate returns the resources of a whole set, by type and then by name.
func Translate(set *model.Set) []Resource {
	all := Trust(set.Trust)
	for _, in := range Inputs(set) {
		all = append(all, in.Resources()...)
	}
	for name, c := range set.Commands {
		all = append(all, Commands(name, c, set.Mesh))
	}
	slices.SortStableFunc(all, func(a, b Resource) int {
		return cmp.Or(cmp.Compare(a.TypeURL, b.TypeURL), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// Resources returns the resources of the service.
func (in Input) Resources() []Resource {
	return slices.Concat(in.Configuration(), in.Inbound(), in.Assignments())
}

// SameConfiguration reports whether both give the same [Input.Configuration]. It
// compares routes by identity, since a set shares those that did not change with
// the one before, and so may say false where values are equal.
func (in Input) SameConfiguration(other Input) bool {
	return sameService(in.Service, other.Service) &&
		in.Domain == other.Domain &&
		maps.Equal(in.HashHeaders, other.HashHeaders) &&
		slices.Equal(in.Routes, other.Routes) &&
		slices.Equal(in.Versions, other.Versions) &&
		sameFailover(in.Failover, other.Failover)
}

// sameService compares all that a service says but where it says it, and its
// endpoints: by exception, so that what is added one day is not forgotten.
func sameService(a, b *model.Service) bool {
	if a == b {
		return true
	}
	x, y := *a, *b
	x.From, y.From = "", ""
	x.Endpoints, y.Endpoints = nil, nil
	return reflect.DeepEqual(&x, &y)
}

// SameInbound reports whether both give the same [Input.Inbound]. It compares
// policies by identity, as SameConfiguration does routes.
func (in Input) SameInbound(other Input) bool {
	return sameService(in.Service, other.Service) &&
		in.Domain == other.Domain &&
		in.AccessDefault == other.AccessDefault &&
		in.PermissiveUntil.Equal(other.PermissiveUntil) &&
		slices.Equal(in.Policies, other.Policies) &&
		slices.EqualFunc(in.Service.Endpoints, other.Service.Endpoints, func(a, b model.Endpoint) bool {
			return slices.Equal(a.Addresses, b.Addresses)
		})
}

// SameAssignments reports whether both give the same [Input.Assignments].
func (in Input) SameAssignments(other Input) bool {
	return in.Service.Name == other.Service.Name &&
		slices.Equal(in.Versions, other.Versions) &&
		sameEndpoints(in.Endpoints, other.Endpoints) &&
		sameFailover(in.Failover, other.Failover) &&
		maps.EqualFunc(in.Elsewhere, other.Elsewhere, sameEndpoints)
}

// sameEndpoint compares what clients are told of an endpoint.
func sameEndpoint(a, b model.Endpoint) bool {
	return a.Instance == b.Instance && a.Version == b.Version && slices.Equal(a.Subsets, b.Subsets) && a.Region == b.Region && a.Zone == b.Zone &&
		a.Weight == b.Weight && health(a.Health) == health(b.Health) && (a.Health == model.Leaving) == (b.Health == model.Leaving) &&
		slices.Equal(a.Addresses, b.Addresses)
}

// elsewhere are the endpoints of the services that a failover names.
func elsewhere(set *model.Set, failover map[string][]model.Target) map[model.ServiceName][]model.Endpoint {
	if len(failover) == 0 {
		return nil
	}
	all := make(map[model.ServiceName][]model.Endpoint)
	for _, targets := range failover {
		for _, to := range targets {
			all[to.Service] = set.Endpoints[to.Service]
		}
	}
	return all
}

// sameFailover compares who takes calls in whose place.
func sameFailover(a, b map[string][]model.Target) bool {
	return maps.EqualFunc(a, b, slices.Equal[[]model.Target])
}

// sameEndpoints compares what clients are told of endpoints.
func sameEndpoints(a, b []model.Endpoint) bool { return slices.EqualFunc(a, b, sameEndpoint) }

// hashHeaders are those of other services that the routes send calls to.
func hashHeaders(set *model.Set, service *model.Service, routes []*model.Route) map[model.ServiceName]string {
	var headers map[model.ServiceName]string
	for _, r := range routes {
		for _, rule := range r.Rules {
			for _, b := range rule.Backends {
				other := set.Services[b.Service]
				if other == nil || other == service || other.LoadBalancing.ByHeader() == "" {
					continue
				}
				if headers == nil {
					headers = make(map[model.ServiceName]string)
				}
				headers[b.Service] = other.LoadBalancing.ByHeader()
			}
		}
	}
	return headers
}

// hashHeader is the header by which the calls of a rule are balanced: that of the
// first of its backends which has one.
func (in Input) hashHeader(rule *model.Rule) string {
	for _, b := range rule.Backends {
		header := in.HashHeaders[b.Service]
		if b.Service == in.Service.Name {
			header = in.Service.LoadBalancing.ByHeader()
		}
		if header != "" && b.Weight > 0 {
			return header
		}
	}
	return ""
}

// clusterName is the name of a service's cluster, of all versions or of one.
func clusterName(service model.ServiceName, version string) string {
	if version == "" {
		return service.String()
	}
	return service.String() + "/" + version
}
