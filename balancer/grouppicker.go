package balancer

import (
	"math/rand/v2"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"

	"github.com/tulle-mesh/tulle/mesh/call"
)

const million = 1_000_000

// A groupPicker picks for one cluster. It is immutable but for the count of open
// calls, and the words of full.
type groupPicker struct {
	group *group // for its names, which are immutable
	drops []drop

	open  *openCalls // nil when the cluster cannot be used
	limit uint32
	full  refusal

	// localities hold the pools of ready endpoints; without any, outage says why.
	localities localityPicker
	outage     *outage
}

// A drop is one category of calls that are refused.
type drop struct {
	perMillion uint32
	failure    *call.Error
}

func newGroupPicker(g *group) *groupPicker {
	if g.open == nil {
		return &groupPicker{outage: unusable(g)}
	}
	limit := g.config.Cluster.MaxRequests
	p := &groupPicker{group: g, open: g.open, limit: limit}
	if g.current == nil || g.current.state != connectivity.Ready {
		p.outage = notReady(g)
		return p
	}
	// Drops shed load. Where no endpoint is ready there is none to shed, and a
	// call should hear of the outage (grpc-go: cluster_impl's picker).
	for _, d := range g.config.Endpoints.Drops {
		p.drops = append(p.drops, drop{perMillion: d.PerMillion, failure: dropped(g, d)})
	}
	p.localities = newLocalityPicker(g, g.current)
	return p
}

// pick picks for one call; rpc is nil where no interceptor of the mesh ran.
func (p *groupPicker) pick(info balancer.PickInfo, rpc *call.Call) (balancer.PickResult, error) {
	for i := range p.drops {
		// Each category draws anew, so that shares do not add up but multiply.
		if rand.Uint32N(million) < p.drops[i].perMillion {
			return refuse(rpc, p.drops[i].failure)
		}
	}
	if p.open != nil && !p.open.acquire(p.limit) {
		return refuse(rpc, p.full.words(func() *call.Error { return overLimit(p.group, p.limit) }))
	}
	if p.outage != nil {
		if p.open != nil {
			p.open.release()
		}
		return p.outage.fail(rpc)
	}
	result, err := p.localities.pick().pick(info, rpc, p.open)
	if err != nil {
		p.open.release()
	}
	return result, err
}
