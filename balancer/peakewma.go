package balancer

import (
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// PeakEWMA sends a call to the less loaded of two members drawn at random, where the
// load is how long calls take times how many are open (Finagle, Linkerd).
//
// Two draws and not the least loaded of all: clients that know the same would all send
// to the same one, until they know better. But of two that are both slow neither is
// good: where some members are, a call draws again (with half of them slow, two draws
// alone would send each fourth call to one).
//
// A member is drawn as often as its weight says, and its open calls count as much
// less. After it has become ready its load is divided by its share of slow start; where
// asked for, the utilization that the endpoint reports multiplies it.
func PeakEWMA(config *resource.Balancing, members []Member) Chooser {
	p := &peakEWMA{
		members:     members,
		rate:        1 / float64(max(config.PeakEWMA.Decay, 1)),
		utilization: config.PeakEWMA.Utilization,
		slowly:      config.SlowStart.Window > 0,
	}
	if slices.ContainsFunc(members, func(m Member) bool { return weightOf(&m) != weightOf(&members[0]) }) {
		p.bounds = make([]float64, len(members))
		sum := 0.0
		for i := range members {
			sum += weightOf(&members[i])
			p.bounds[i] = sum
		}
		p.mean = sum / float64(len(members))
	}
	return p
}

type peakEWMA struct {
	members     []Member
	rate        float64
	utilization bool
	slowly      bool
	bounds      []float64 // running sums of the weights; nil where all are alike
	mean        float64   // weight
}

const (
	// tie is how far above the other a load may be and still be taken for alike.
	// With one call after the other the better of two would get all of them.
	tie = 1.1
	// floor is what a call is taken to need at least. Below it is noise of this
	// process, and an endpoint that was not called for long would need nothing.
	floor = float64(200 * time.Microsecond)
	// dear is how many times the cost of the better quarter a member's must be for two
	// more to be drawn. A few times is no more than chance makes of members alike; and
	// the one that is much quicker than all others is not to get all calls.
	dear = 8
	// staleLoad is how long what an endpoint said of its load counts: gRFC A58's
	// weight_expiration_period.
	staleLoad = 3 * time.Minute
	// draws is how often two are drawn at most.
	draws = 6
)

// Choose implements [Chooser].
func (p *peakEWMA) Choose(c Choice) int { return p.choose(c, nil) }

// choose is Choose. Where somebody asks why, it notes which members it weighed.
func (p *peakEWMA) choose(c Choice, weighed *[]int) int {
	if c.InUse < 2 {
		if c.InUse == 1 && c.Admits(0) {
			return 0
		}
		return -1
	}
	best, least, seen := -1, 0.0, 0
	for range draws {
		a, b, either := p.draw(c)
		for _, i := range [...]int{a, b} {
			if i == best || !c.Admits(i) {
				continue
			}
			seen++
			if weighed != nil {
				*weighed = append(*weighed, i)
			}
			load := p.load(c, i)
			if best < 0 || load*tie < least || load <= least*tie && either {
				best, least = i, load
			}
		}
		if seen > 1 && !p.dear(c, best, least) {
			break
		}
	}
	return best
}

// draw returns two members and a bit, at random. The two differ where all weights are
// alike.
func (p *peakEWMA) draw(c Choice) (a, b int, either bool) {
	r := rand.Uint64()
	if p.bounds != nil {
		sum := p.bounds[c.InUse-1] / (1 << 32)
		a = sort.SearchFloat64s(p.bounds[:c.InUse-1], float64(r>>32)*sum)
		b = sort.SearchFloat64s(p.bounds[:c.InUse-1], float64(r&0xffffffff)*sum)
		return a, b, r&1 == 0
	}
	n := uint64(c.InUse)
	a = int(r >> 32 * n >> 32)
	b = int(r & 0xffffffff * (n - 1) >> 32)
	if b >= a {
		b++
	}
	return a, b, r&1 == 0
}

// dear is whether a member takes so much longer than the better ones that others
// should be looked for, and not only has more calls open.
func (p *peakEWMA) dear(c Choice, i int, load float64) bool {
	limit := dear * float64(c.pool.low.Load())
	if load <= limit || limit == 0 {
		return false
	}
	estimate, guess := p.members[i].Node.cost.at(c.Now, p.rate)
	return estimate > limit && !guess
}

func (p *peakEWMA) load(c Choice, i int) float64 {
	n := p.members[i].Node
	open := float64(n.Open())
	if p.bounds != nil {
		open *= p.mean / weightOf(&p.members[i])
	}
	estimate, guess := n.cost.at(c.Now, p.rate)
	if guess {
		estimate = c.pool.guess(estimate)
	}
	load := max(estimate, floor) * (open + 1)
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
