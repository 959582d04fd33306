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
// client needs is in the standard fields (gRFCs A27, A28, A31, A32, A33); nothing
// here marshals, versions or sends.
package translate

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

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
}

// Inputs returns an Input for each service of the set, in order of name.
func Inputs(set *model.Set) []Input {
	routes := map[model.ServiceName][]*model.Route{}
	versions := map[model.ServiceName][]string{}
	for _, r := range set.Routes {
		for _, parent := range r.Parents {
			routes[parent] = append(routes[parent], r)
		}
		for _, rule := range r.Rules {
			for _, b := range rule.Backends {
				if b.Version != "" {
					versions[b.Service] = append(versions[b.Service], b.Version)
				}
			}
		}
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
		})
	}
	slices.SortFunc(inputs, func(a, b Input) int { return a.Service.Name.Compare(b.Service.Name) })
	return inputs
}

// Translate returns the resources of a whole set, by type and then by name.
func Translate(set *model.Set) []Resource {
	var all []Resource
	for _, in := range Inputs(set) {
		all = append(all, in.Resources()...)
	}
	slices.SortStableFunc(all, func(a, b Resource) int {
		return cmp.Or(cmp.Compare(a.TypeURL, b.TypeURL), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// Resources returns the resources of the service.
func (in Input) Resources() []Resource {
	return append(in.Configuration(), in.Assignments()...)
}

// SameConfiguration reports whether both give the same [Input.Configuration]. It
// compares routes by identity, since a set shares those that did not change with
// the one before, and so may say false where values are equal.
func (in Input) SameConfiguration(other Input) bool {
	return in.Service.Name == other.Service.Name &&
		in.Service.Timeout == other.Service.Timeout &&
		in.Service.MaxRequests == other.Service.MaxRequests &&
		slices.Equal(in.Routes, other.Routes) &&
		slices.Equal(in.Versions, other.Versions)
}

// SameAssignments reports whether both give the same [Input.Assignments].
func (in Input) SameAssignments(other Input) bool {
	return in.Service.Name == other.Service.Name &&
		slices.Equal(in.Versions, other.Versions) &&
		slices.EqualFunc(in.Endpoints, other.Endpoints, sameEndpoint)
}

// sameEndpoint compares what clients are told of an endpoint.
func sameEndpoint(a, b model.Endpoint) bool {
	return a.Instance == b.Instance && a.Version == b.Version && a.Region == b.Region && a.Zone == b.Zone &&
		a.Weight == b.Weight && health(a.Health) == health(b.Health) && (a.Health == model.Leaving) == (b.Health == model.Leaving) &&
		slices.Equal(a.Addresses, b.Addresses)
}

// clusterName is the name of a service's cluster, of all versions or of one.
func clusterName(service model.ServiceName, version string) string {
	if version == "" {
		return service.String()
	}
	return service.String() + "/" + version
}
