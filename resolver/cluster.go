package resolver

import (
	"fmt"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A cluster follows one Cluster and the Endpoints that it leads to. A pair that
// fits together stays until another is complete.
type cluster struct {
	name  string
	watch *watch[resource.Cluster]

	// endpoints goes with current, or is what the first is waited for with; next
	// is that of a newer Cluster which leads elsewhere, until it has an answer.
	endpoints, next *watch[resource.Endpoints]
	// current is the last complete pair, nil before the first.
	current *resource.ClusterConfig
	stale   bool

	// missing says what is not there yet, empty when nothing is, and cause why
	// not, where that is known.
	missing string
	cause   error
}

// update looks at the cluster's resources and opens what they lead to. What it
// no longer needs it hands to a.retire.
func (c *cluster) update(a *assembly) {
	c.missing, c.cause = "", nil
	v := c.watch.look()
	switch {
	case v.unusable:
		c.set(nil, view[resource.Endpoints]{err: v.err}, false)
		return
	case v.value == nil:
		c.missing, c.cause = fmt.Sprintf("Cluster %q", c.name), v.err
		return
	}
	endpoints := c.watchOf(a, v.value)
	e := endpoints.look()
	if e.value != nil || e.unusable {
		if endpoints == c.next {
			a.retire(c.endpoints)
			c.endpoints, c.next = c.next, nil
		}
		c.set(v.value, e, v.stale)
		return
	}
	c.missing, c.cause = fmt.Sprintf("endpoints of Cluster %q", c.name), e.err
	if c.next != nil && c.current != nil && c.current.Cluster != nil {
		// The pair before goes on, with whatever becomes of its endpoints.
		if e := c.endpoints.look(); e.value != nil {
			c.set(c.current.Cluster, e, v.stale)
		}
	}
}

// watchOf returns the watch of the endpoints that a Cluster leads to.
func (c *cluster) watchOf(a *assembly, of *resource.Cluster) *watch[resource.Endpoints] {
	name := of.EndpointsName
	if c.endpoints == nil {
		c.endpoints = newWatch[resource.Endpoints](a.source, resource.EndpointsType, name, a.notify)
	}
	if c.endpoints.name == name {
		a.retire(c.next)
		c.next = nil
		return c.endpoints
	}
	if c.next == nil || c.next.name != name {
		a.retire(c.next)
		c.next = newWatch[resource.Endpoints](a.source, resource.EndpointsType, name, a.notify)
	}
	return c.next
}

// set makes the pair current. A pair that is the same stays the same value, by
// which the assembly sees that nothing changed.
func (c *cluster) set(of *resource.Cluster, e view[resource.Endpoints], stale bool) {
	c.stale = stale || e.stale
	if p := c.current; p != nil && p.Cluster == of && p.Endpoints == e.value && sameError(p.Err, e.err) {
		return
	}
	c.current = &resource.ClusterConfig{Cluster: of, Endpoints: e.value, Err: e.err}
}

// close ends all interest.
func (c *cluster) close() {
	c.watch.sub.Close()
	for _, w := range []*watch[resource.Endpoints]{c.endpoints, c.next} {
		if w != nil {
			w.sub.Close()
		}
	}
}
