package model

import (
	"fmt"
	"strings"
	"time"
)

func (c *checker) route(r *Route) {
	c.label("metadata.namespace", r.Namespace)
	if err := checkSubdomain(r.Name); err != nil {
		c.errorf("metadata.name", "is no DNS name: %v", err)
	}
	if len(r.Parents) == 0 {
		c.errorf("spec.parentRefs", "names no service: write [{kind: Service, name: NAME}]")
	}
	c.count("spec.parentRefs", len(r.Parents), maxParents)
	seen := make(map[ServiceName]int, len(r.Parents))
	for i, p := range r.Parents {
		field := fmt.Sprintf("spec.parentRefs[%d]", i)
		if j, ok := seen[p]; ok {
			c.errorf(field, "names %s, as parentRefs[%d] does: remove one of them", p, j)
		}
		seen[p] = i
		// GEP-1426: a route of another namespace than its parent's applies to
		// the clients of its own namespace only, and clients are not told apart yet.
		if p.Namespace != r.Namespace {
			c.errorf(field+".namespace", "is %s and the route's is %s: routes for the clients of one namespace are not served by this "+
				"version; "+
				"move the route to namespace %s, where it applies to all clients", p.Namespace, r.Namespace, p.Namespace)
		}
	}
	if len(r.Rules) == 0 {
		c.errorf("spec.rules", "has no rule, so every call would fail: write one, or remove the route")
	}
	most := maxRules
	if c.ordered = r.Ordered; r.Ordered {
		most = maxOrdered
	}
	c.count("spec.rules", len(r.Rules), most)
	names := make(map[string]int, len(r.Rules))
	for i, rule := range r.Rules {
		field := fmt.Sprintf("spec.rules[%d]", i)
		c.text(field+".name", rule.Name)
		if j, ok := names[rule.Name]; ok && rule.Name != "" {
			c.errorf(field+".name", "%s is the name of rules[%d] too: give each rule a name of its own", rule.Name, j)
		}
		names[rule.Name] = i
		c.rule(field, rule)
	}
}

func (c *checker) rule(field string, r Rule) {
	c.count(field+".matches", len(r.Matches), maxMatches)
	for i, m := range r.Matches {
		c.match(fmt.Sprintf("%s.matches[%d]", field, i), m)
	}
	c.backends(field+".backendRefs", r.Backends)
	if r.Timeout != nil {
		c.duration(field+".timeouts.request", *r.Timeout)
	}
	c.ruleTraffic(field, &r)
}

func (c *checker) backends(field string, backends []Backend) {
	if len(backends) == 0 {
		// The Gateway API fails such calls, Linkerd sends them to the parent.
		c.errorf(field, "names no service: write where the calls go, the route's own parent included")
		return
	}
	if !c.ordered {
		c.count(field, len(backends), maxBackends)
	} else {
		c.count(field, len(backends), maxShares)
	}
	type destination struct {
		service ServiceName
		version string
	}
	seen := make(map[destination]int, len(backends))
	var sum uint64
	for i, b := range backends {
		at := fmt.Sprintf("%s[%d]", field, i)
		if b.Version != "" {
			if err := CheckVersion(b.Version); err != nil {
				c.errorf(at+".version", "%v", err)
			}
		}
		if b.Weight > maxBackendWeight {
			c.errorf(at+".weight", "%d is above %d, the most: weights are shares, divide them all", b.Weight, maxBackendWeight)
		}
		c.failover(at+".failover", b)
		sum += uint64(b.Weight)
		d := destination{b.Service, b.Version}
		if j, ok := seen[d]; ok {
			c.errorf(at, "names the same endpoints as backendRefs[%d]: write one of them, with the sum of the weights", j)
		}
		seen[d] = i
	}
	if sum == 0 {
		c.errorf(field, "weights sum to zero, so no call could be sent: give one of them a weight above zero")
	}
}

// MaxFailover bounds the targets of one backend: each is a priority of its own.
const MaxFailover = 8

// CheckRule returns what is wrong with a rule of a route that keeps its order, as far as
// it can be told from the rule alone.
func CheckRule(r Rule) []Problem {
	c := &checker{ordered: true}
	c.rule("", r)
	return c.problems
}

func (c *checker) failover(field string, b Backend) {
	c.count(field, len(b.Failover), MaxFailover)
	for i, to := range b.Failover {
		at := fmt.Sprintf("%s[%d]", field, i)
		c.name(at, to.Service)
		if to.Version != "" {
			if err := CheckVersion(to.Version); err != nil {
				c.errorf(at+".version", "%v", err)
			}
		}
		if to == (Target{b.Service, b.Version}) {
			c.errorf(at, "is the backend itself: name other endpoints, or remove it")
		}
	}
}

func (c *checker) fault(field string, f Fault) {
	if f.DelayPerMillion == 0 && f.AbortPerMillion == 0 {
		c.errorf(field, "does nothing: give delay or abort a percent above zero, or remove it")
	}
	c.share(field+".delay.percent", f.DelayPerMillion)
	c.share(field+".abort.percent", f.AbortPerMillion)
	c.duration(field+".delay.duration", f.Delay)
	if f.FromHeaders {
		c.asked(field, f)
		return
	}
	if f.DelayPerMillion > 0 && f.Delay < time.Millisecond {
		c.errorf(field+".delay.duration", "%v is less than 1ms: write how long calls wait", f.Delay)
	}
	if f.AbortPerMillion > 0 && (f.AbortCode < 1 || f.AbortCode > 16) {
		c.errorf(field+".abort.code", "%d is no gRPC status code that fails a call: write one, as in unavailable", f.AbortCode)
	}
}

// asked checks a fault that callers ask for.
func (c *checker) asked(field string, f Fault) {
	if f.Delay != 0 {
		c.errorf(field+".delay.duration", "comes from the header where fromHeaders is true: remove it")
	}
	if f.AbortCode != 0 {
		c.errorf(field+".abort.code", "comes from the header where fromHeaders is true: remove it")
	}
	// A caller's own percentage counts in the unit of this one (gRFC A33).
	const percent = perMillion / 100
	if f.DelayPerMillion%percent != 0 {
		c.errorf(field+".delay.percent", "is of calls that ask for it, and whole: round it")
	}
	if f.AbortPerMillion%percent != 0 {
		c.errorf(field+".abort.percent", "is of calls that ask for it, and whole: round it")
	}
}

func (c *checker) share(field string, n uint32) {
	if n > perMillion {
		c.errorf(field, "%g is out of range: write 0 to 100", float64(n)/10_000)
	}
}

// checkSubdomain is Kubernetes' rule for the names of objects that are no
// services (RFC 1123): labels joined by dots.
func checkSubdomain(s string) error {
	if len(s) > maxText {
		return fmt.Errorf("%.20q... is longer than %d characters", s, maxText)
	}
	for label := range strings.SplitSeq(s, ".") {
		if err := CheckLabel(label); err != nil {
			return err
		}
	}
	return nil
}
