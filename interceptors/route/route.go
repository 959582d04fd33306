// Package route decides where one call goes and how long it may take.
//
//	r, cluster, failure := route.Choose(ctx, config, "/voting.v1.Voting/Vote")
//	if failure != nil {
//		return failure
//	}
//	ctx, cancel := route.Bound(ctx, config.Timeout(r))
//
// Matching itself belongs to the route's values, in mesh/resource; this package
// says in what order it is asked and what a call that finds no way is told. The
// rules are those of gRFC A28 (routes, weighted clusters) and A31 (timeouts).
package route

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// Choose returns the first route that matches the call, and one of its clusters
// by weight. method is the full method, "/package.Service/Method"; headers are
// the outgoing metadata of ctx. It allocates only where a route of the service
// looks at headers.
//
// The failure is UNAVAILABLE (gRFC A28): no route matches, or the one that does
// asks for what a gRPC client cannot do.
func Choose(ctx context.Context, config *resource.Config, method string) (*resource.Route, *resource.WeightedCluster, *call.Error) {
	r := config.VirtualHost.Match(ctx, method)
	if r == nil {
		return nil, nil, noRoute(config, method, fmt.Sprintf("no route of %q matches %s", config.Service, method))
	}
	if r.Unsupported != "" {
		return nil, nil, noRoute(config, method, fmt.Sprintf("the route of %q for %s cannot be followed: %s", config.Service, method, r.Unsupported))
	}
	cluster := r.Pick()
	if cluster == nil {
		return nil, nil, noRoute(config, method, fmt.Sprintf("the route of %q for %s names no cluster", config.Service, method))
	}
	return r, cluster, nil
}

func noRoute(config *resource.Config, method, detail string) *call.Error {
	return &call.Error{
		Service: config.Service,
		Reason:  call.NoRoute,
		Code:    codes.Unavailable,
		Detail:  detail,
		Try:     "xdsserver explain " + config.Service + " --method " + method,
	}
}

// Bound gives ctx the deadline that a route's timeout sets from now on. Where
// timeout is zero, or ctx ends sooner by itself, it returns ctx and a nil cancel:
// the application's shorter deadline wins, and costs nothing.
func Bound(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout <= 0 {
		return ctx, nil
	}
	deadline := time.Now().Add(timeout)
	if own, ok := ctx.Deadline(); ok && !own.After(deadline) {
		return ctx, nil
	}
	return context.WithDeadline(ctx, deadline)
}
