package admin

import (
	"context"
	"errors"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// ListRoutes implements the API.
func (s *Server) ListRoutes(_ context.Context, req *adminv1.ListRoutesRequest) (*adminv1.ListRoutesResponse, error) {
	p, name, err := s.known(req.GetService())
	if err != nil {
		return nil, err
	}
	e := assemble(name.String(), published{p.Snapshot})
	if e.missing != "" {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New(e.missing))
	}
	answer := &adminv1.ListRoutesResponse{Service: name.String(), Version: e.resources[len(e.resources)-1].GetPublished()}
	authors := authorsOf(p.Set, name)
	for _, r := range e.config.VirtualHost.Routes {
		e.clusters(r)
		answer.Routes = append(answer.Routes, callRoute(e.config, r, authors))
	}
	return answer, nil
}

// callRoute writes out a route whose clusters are in the config.
func callRoute(c *resource.Config, r *resource.Route, a authors) *adminv1.CallRoute {
	m := r.Match()
	out := &adminv1.CallRoute{
		Name: r.Name, Method: m.Method, Headers: m.Headers, Percent: percent(m.PerMillion),
		Unsupported: r.Unsupported,
		Traffic:     traffic(c.Traffic(r)),
	}
	if t := c.Timeout(r); t > 0 {
		out.Timeout = durationpb.New(t)
	}
	out.Object, out.Origin = a.of(r.Name)
	for i := range r.Clusters {
		out.Backends = append(out.Backends, callBackend(c, r, &r.Clusters[i]))
	}
	return out
}

func callBackend(c *resource.Config, r *resource.Route, to *resource.WeightedCluster) *adminv1.CallBackend {
	out := &adminv1.CallBackend{
		Cluster: to.Name,
		Percent: float64(to.Weight) * 100 / float64(r.TotalWeight),
		Fault:   fault(c.Fault(r, to)),
	}
	if cluster := c.Clusters[to.Name]; cluster != nil && cluster.Cluster != nil {
		out.Balancing, out.MaxRequests = balancing(&cluster.Cluster.Balancing), cluster.Cluster.MaxRequests
	}
	return out
}

// authors say who wrote a route of a service.
type authors struct {
	service *model.Service
	routes  []*model.Route // those of the service
}

func authorsOf(set *model.Set, name model.ServiceName) authors {
	a := authors{service: set.Services[name]}
	for _, r := range set.Routes {
		if slices.Contains(r.Parents, name) {
			a.routes = append(a.routes, r)
		}
	}
	return a
}

// of returns the object that a route was made from, and where that is written. The
// route is named after it, with its rule's name behind a slash; the one of a service
// without routes has no name.
func (a authors) of(route string) (object, origin string) {
	if route == "" {
		if a.service == nil {
			return "", ""
		}
		return refString(a.service.Ref()), a.service.From
	}
	of, _, _ := strings.Cut(route, "/")
	for _, r := range a.routes {
		if (model.ServiceName{Namespace: r.Namespace, Name: r.Name}).String() == of {
			return refString(r.Ref()), r.From
		}
	}
	return "", ""
}
