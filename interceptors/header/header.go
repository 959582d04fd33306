// Package header changes the metadata that calls are sent with, as their route says.
//
//	rpc.Context = header.Apply(rpc.Context, traffic.Headers)
//
// A route is chosen by the metadata as the application gave it, so it is changed
// afterwards. The package does not check names: the decoder of package resource
// refuses those that belong to gRPC. It does not change what comes back.
package header

import (
	"context"

	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// Apply returns ctx with its outgoing metadata changed: first what is removed, then
// what is set in place of what was there, then what is added beside it. Nil headers
// change nothing, and cost nothing. ctx and its metadata stay as they are.
func Apply(ctx context.Context, h *resource.Headers) context.Context {
	if h == nil {
		return ctx
	}
	if len(h.Remove) == 0 && len(h.Set) == 0 {
		if len(h.Add) == 0 {
			return ctx
		}
		pairs := make([]string, 0, 2*len(h.Add))
		for _, v := range h.Add {
			pairs = append(pairs, v.Name, v.Value)
		}
		return metadata.AppendToOutgoingContext(ctx, pairs...)
	}
	md, _ := metadata.FromOutgoingContext(ctx) // a copy, with keys in lower case
	if md == nil {
		md = make(metadata.MD, len(h.Set)+len(h.Add))
	}
	for _, name := range h.Remove {
		delete(md, name)
	}
	for _, v := range h.Set {
		md[v.Name] = []string{v.Value}
	}
	for _, v := range h.Add {
		md[v.Name] = append(md[v.Name], v.Value)
	}
	return metadata.NewOutgoingContext(ctx, md)
}
