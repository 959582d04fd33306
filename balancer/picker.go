package balancer

import (
	"fmt"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A picker finds the call's cluster and picks in its group. It is immutable.
type picker struct {
	service     string
	virtualHost *resource.VirtualHost // nil routes nothing
	groups      map[string]*groupPicker
	// home is the group of the cluster called as the service, which most calls go to:
	// a string that is the same needs no hash.
	home *groupPicker
}

var _ balancer.Picker = (*picker)(nil)

// Pick implements grpc-go's balancer.Picker.
//
// It may be called several times for one call: grpc-go picks anew after a pick
// that queued, and for each attempt. Each pick leaves in the call's Failure why
// it found no endpoint, or nil.
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	rpc := call.FromContext(info.Ctx)
	if rpc != nil {
		group := p.home
		if rpc.Cluster != p.service || group == nil {
			group = p.groups[rpc.Cluster]
		}
		if group != nil {
			return group.pick(info, rpc)
		}
		if rpc.Copy {
			return refuse(rpc, p.noRoute("the mirror of %q is cluster %q, which is not configured any more", p.service, rpc.Cluster))
		}
	}
	return p.route(info, rpc)
}

// route picks for a call that no interceptor routed, or that one routed by a
// configuration whose cluster is gone since. Its deadline and faults are the
// interceptor's business and are not applied here.
func (p *picker) route(info balancer.PickInfo, rpc *call.Call) (balancer.PickResult, error) {
	if p.virtualHost == nil {
		return refuse(rpc, p.noRoute("no virtual host of %q takes the call", p.service))
	}
	route := p.virtualHost.Match(info.Ctx, info.FullMethodName)
	if route == nil {
		return refuse(rpc, p.noRoute("no route of %q matches %s", p.service, info.FullMethodName))
	}
	if route.Unsupported != "" {
		return refuse(rpc, p.noRoute("the route of %q for %s cannot be used: %s", p.service, info.FullMethodName, route.Unsupported))
	}
	cluster := route.Pick()
	group := p.groups[cluster.Name]
	if group == nil {
		return refuse(rpc, p.noRoute("the route of %q for %s leads to cluster %q, which is not configured",
			p.service, info.FullMethodName, cluster.Name))
	}
	return group.pick(info, rpc)
}

func (p *picker) noRoute(format string, args ...any) *call.Error {
	return &call.Error{
		Service: p.service,
		Reason:  call.NoRoute,
		Code:    codes.Unavailable,
		Detail:  fmt.Sprintf(format, args...),
		Try:     "xdsserver routes " + p.service,
	}
}
