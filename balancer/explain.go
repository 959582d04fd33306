package balancer

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// An explainer is a [Chooser] that can say what made it choose. Explain chooses as
// Choose does, and says it in why: "peak-ewma: 2.1ms x 1 beat 10.0.0.8:8080 4ms x 3".
// It is called while somebody taps the call, and may allocate.
type explainer interface {
	Explain(c Choice) (i int, why string)
}

// explain is Choose of the pool's chooser for a call that wants to know why.
func (p *Pool) explain(c Choice) int {
	e, ok := p.chooser.(explainer)
	if !ok {
		i := p.chooser.Choose(c)
		if i >= 0 {
			c.Call.Why = fmt.Sprintf("%s: one of %s", p.policy(), c.among())
		}
		return i
	}
	i, why := e.Explain(c)
	c.Call.Why = why
	if i >= 0 && c.InUse < len(p.members) {
		c.Call.Why += ", of the " + c.among()
	}
	return i
}

// policy is the name of what chooses.
func (p *Pool) policy() string {
	if p.config.Policy == "" {
		return "peak-ewma"
	}
	return strings.ReplaceAll(string(p.config.Policy), "_", "-")
}

// among is what a choice was made among.
func (c Choice) among() string {
	if all := len(c.pool.members); c.InUse < all {
		return fmt.Sprintf("%d of %d endpoints in use", c.InUse, all)
	}
	return fmt.Sprintf("%d endpoints", c.InUse)
}

// because is why a call went where it would not have gone by itself.
func (p *Pool) because(why purpose, n *Node, now int64) string {
	if why == probe {
		return "breaker: one call to see whether the endpoint is well again"
	}
	estimate, _ := n.cost.at(now, p.decayRate)
	return fmt.Sprintf("%s: one call to see whether the endpoint still takes %v", p.policy(), short(estimate))
}

// short is a duration in nanoseconds to three digits.
func short(ns float64) time.Duration {
	d := time.Duration(ns)
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}

// left is why a call went to an endpoint that the chooser did not find.
func (p *Pool) left() string {
	out := 0
	for i := range p.members {
		if p.members[i].Node.out.Load() {
			out++
		}
	}
	return fmt.Sprintf("%s: one that was left, of %d endpoints, %d of which fail", p.policy(), len(p.members), out)
}

// Explain implements explainer.
func (p *peakEWMA) Explain(c Choice) (int, string) {
	var weighed []int
	i := p.choose(c, &weighed)
	if i < 0 {
		return i, ""
	}
	var why strings.Builder
	why.WriteString("peak-ewma: " + p.tell(c, i))
	told := []int{i}
	for _, other := range weighed {
		if len(told) > maxTold || slices.Contains(told, other) {
			continue
		}
		word := ","
		if len(told) == 1 {
			word = " beat"
		}
		fmt.Fprintf(&why, "%s %s %s", word, p.members[other].Node.Address, p.tell(c, other))
		told = append(told, other)
	}
	return i, why.String()
}

// maxTold is how many that were not chosen are named.
const maxTold = 3

// tell is what a member's load is made of: how long a call takes, times how many there
// would be.
func (p *peakEWMA) tell(c Choice, i int) string {
	n := p.members[i].Node
	estimate, guess := n.cost.at(c.Now, p.rate)
	word := ""
	if guess {
		estimate, word = c.pool.guess(estimate), " (a guess)"
	}
	return fmt.Sprintf("%v%s x %d", short(estimate), word, n.Open()+1)
}

// Explain implements explainer.
func (n leastRequest) Explain(c Choice) (int, string) {
	i := n.Choose(c)
	if i < 0 {
		return i, ""
	}
	return i, fmt.Sprintf("least-request: %d open, the fewest of %d drawn", c.Open(i), uint32(n))
}

// Explain implements explainer.
func (r *ringHash) Explain(c Choice) (int, string) {
	i := r.Choose(c)
	if c.Call == nil || !c.Call.Hashed {
		return i, "ring-hash: the call has no key, any place on the ring"
	}
	return i, fmt.Sprintf("ring-hash: key %016x", c.Call.Hash)
}

var _, _, _ explainer = (*peakEWMA)(nil), leastRequest(0), (*ringHash)(nil)
