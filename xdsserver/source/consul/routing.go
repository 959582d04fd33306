package consul

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
	"golang.org/x/sync/errgroup"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// routingKinds are the config entries that say where calls go.
var routingKinds = []string{api.ServiceRouter, api.ServiceSplitter, api.ServiceResolver, api.ServiceDefaults}

// followRouting emits the part until ctx ends. It does not honour the entries yet, and
// says so of each: nobody should think that calls go where they do not.
func (s *Source) followRouting(ctx context.Context, emit func(routingPart)) error {
	group, ctx := errgroup.WithContext(ctx)
	answers := make(chan routingAnswer)
	for _, kind := range routingKinds {
		group.Go(func() error {
			return consul.Follow(ctx, s.config.Client, consul.Watch[[]api.ConfigEntry]{
				What: kind + " entries",
				Fetch: func(q *api.QueryOptions) ([]api.ConfigEntry, *api.QueryMeta, error) {
					return s.config.Client.API().ConfigEntries().List(kind, q)
				},
				Emit: func(a consul.Answer[[]api.ConfigEntry]) {
					select {
					case answers <- routingAnswer{kind: kind, Answer: a}:
					case <-ctx.Done():
					}
				},
			})
		})
	}
	group.Go(func() error {
		known := map[string]routingAnswer{}
		for {
			select {
			case <-ctx.Done():
				return nil
			case a := <-answers:
				if before, ok := known[a.kind]; ok && a.Err != nil {
					a.Value = before.Value // the last good ones
				}
				known[a.kind] = a
				emit(unhonoured(known))
			}
		}
	})
	return group.Wait()
}

type routingAnswer struct {
	consul.Answer[[]api.ConfigEntry]

	kind string
}

// unhonoured tells of every entry that it is not honoured.
func unhonoured(known map[string]routingAnswer) routingPart {
	p := routingPart{part: part{known: len(known) == len(routingKinds)}}
	for _, kind := range routingKinds {
		a, ok := known[kind]
		if !ok {
			continue
		}
		if a.Err != nil {
			p.err, p.known = a.Err, p.known && a.Value != nil
		}
		for _, e := range a.Value {
			p.problems = append(p.problems, model.Problem{
				Object:  model.Ref{Kind: model.KindService, Namespace: model.DefaultNamespace, Name: e.GetName()},
				From:    "consul:" + kind + "/" + e.GetName(),
				Message: fmt.Sprintf("config entries of the kind %s are not honoured yet: write what it says as a GRPCRoute or a Service, and apply that", kind),
				Warning: true,
			})
		}
	}
	slices.SortFunc(p.problems, func(a, b model.Problem) int { return strings.Compare(a.From, b.From) })
	return p
}
