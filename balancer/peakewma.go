package balancer

import (
	"math/rand/v2"
	"time"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// PeakEWMA sends a call to the less loaded of two members drawn at random, where the
// load is how long calls take times how many are open (Finagle, Linkerd).
//
// Two draws and not the least loaded of all: clients that know the same would all send
// to the same one, until they know better.
//
// The load is divided by the member's weight among the others and, after it has
// become ready, by its share of slow start; where asked for, the utilization that the
// endpoint reports multiplies it.
func PeakEWMA(config *resource.Balancing, members []Member) Chooser {
	p := &peakEWMA{
		members:     members,
		rate:        1 / float64(max(config.PeakEWMA.Decay, 1)),
		utilization: config.PeakEWMA.Utilization,
		slowly:      config.SlowStart.Window > 0,
	}
	var sum float64
	for i := range members {
		sum += float64(members[i].Endpoint.Weight)
	}
	for i := range members {
		w := float64(members[i].Endpoint.Weight)
		if w > 0 && w*float64(len(members)) != sum {
			if p.heaviness == nil {
				p.heaviness = make([]float64, len(members))
				for k := range p.heaviness {
					p.heaviness[k] = 1
				}
			}
			p.heaviness[i] = sum / float64(len(members)) / w
		}
	}
	return p
}

type peakEWMA struct {
	members     []Member
	rate        float64
	utilization bool
	slowly      bool
	heaviness   []float64 // 1/weight, of the mean; nil where all are alike
}

const (
	// tie is how far above the other a load may be and still be taken for alike.
	// With one call after the other the better of two would get all of them.
	tie = 1.1
	// floor is what a call is taken to need at least. Below it is noise of this
	// process, and an endpoint that was not called for long would need nothing.
	floor = float64(200 * time.Microsecond)
	// staleLoad is how long what an endpoint said of its load counts: gRFC A58's
	// weight_expiration_period.
	staleLoad = 3 * time.Minute
	// draws is how often two are drawn before the pool is asked to look at all.
	draws = 6
)

// Choose implements [Chooser].
func (p *peakEWMA) Choose(c Choice) int {
	switch c.InUse {
	case 0:
		return -1
	case 1:
		if c.Admits(0) {
			return 0
		}
		return -1
	}
	n, alone := uint64(c.InUse), -1
	for range draws {
		r := rand.Uint64()
		a := int(r >> 32 * n >> 32)
		b := int(r & 0xffffffff * (n - 1) >> 32)
		if b >= a {
			b++
		}
		switch left, right := c.Admits(a), c.Admits(b); {
		case left && right:
			return p.better(c, a, b, r&1 == 0)
		case left:
			if alone >= 0 && alone != a {
				return p.better(c, alone, a, r&1 == 0)
			}
			alone = a
		case right:
			if alone >= 0 && alone != b {
				return p.better(c, alone, b, r&1 == 0)
			}
			alone = b
		}
	}
	return alone
}

// better returns the one with the lower load, either where they are alike.
func (p *peakEWMA) better(c Choice, a, b int, either bool) int {
	left, right := p.load(c, a), p.load(c, b)
	switch {
	case left > right*tie:
		return b
	case right > left*tie:
		return a
	case either:
		return a
	default:
		return b
	}
}

func (p *peakEWMA) load(c Choice, i int) float64 {
	n := p.members[i].Node
	load := max(n.cost.at(c.Now, p.rate), floor) * float64(n.Open()+1)
	if p.heaviness != nil {
		load *= p.heaviness[i]
	}
	if p.slowly {
		load /= c.Share(i)
	}
	if p.utilization {
		if u := n.load.utilization(c.Now, staleLoad); u > 0 {
			load *= u
		}
	}
	return load
}
