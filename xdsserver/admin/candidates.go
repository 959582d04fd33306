package admin

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/metadata"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// What becomes of a candidate.
const (
	usePreferred = "preferred"
	useOverflow  = "on overflow"
	useAlike     = "alike"
	useStandby   = "standby"
	useNever     = "never"
)

// stateGone is that of an endpoint that a client has and the mesh has not.
const stateGone = "gone"

// A cluster is the endpoints of one cluster, as one client sees them.
type cluster struct {
	balancing *resource.Balancing
	traffic   *resource.Traffic
	endpoints *resource.Endpoints
	// known are those that the mesh knows now.
	known  []model.Endpoint
	caller *adminv1.ExplainedCaller
	md     metadata.MD // as it is sent
}

// zoned reports whether zones matter: the client says where it is, keeps to its zone
// where it can, and can.
func (c *cluster) zoned() bool {
	return c.balancing.Zone.Prefer && c.caller.GetZone() != "" && slices.ContainsFunc(c.endpoints.Localities, func(l resource.Locality) bool {
		return l.Priority == 0 && c.local(&l) && len(l.Endpoints) > 0
	})
}

func (c *cluster) local(l *resource.Locality) bool {
	return l.Zone == c.caller.GetZone() && l.Region == c.caller.GetRegion()
}

// candidates are the endpoints that the client may choose from, and those of the mesh
// that it may not.
func (c *cluster) candidates() []*adminv1.Candidate {
	known := make(map[string]model.Endpoint, len(c.known))
	for _, e := range c.known {
		known[e.Addresses[0]] = e
	}
	var out []*adminv1.Candidate
	zoned := c.zoned()
	for i := range c.endpoints.Localities {
		l := &c.endpoints.Localities[i]
		for _, e := range l.Endpoints {
			candidate := &adminv1.Candidate{
				Addresses: e.Addresses, Instance: e.Instance, Version: e.Version, Region: l.Region, Zone: l.Zone,
				Weight: e.Weight, Priority: l.Priority, State: stateGone, Use: c.use(l, zoned),
			}
			if now, ok := known[e.Addresses[0]]; ok {
				candidate.State = states[now.Health]
				delete(known, e.Addresses[0])
			}
			out = append(out, candidate)
		}
	}
	for _, e := range c.known { // in order of instance
		if _, left := known[e.Addresses[0]]; left {
			out = append(out, &adminv1.Candidate{
				Addresses: e.Addresses, Instance: e.Instance, Version: e.Version, Region: e.Region, Zone: e.Zone,
				Weight: max(1, e.Weight), State: states[e.Health], Use: useNever,
			})
		}
	}
	return out
}

func (c *cluster) use(l *resource.Locality, zoned bool) string {
	switch {
	case l.Priority > 0:
		return useStandby
	case !zoned:
		return useAlike
	case c.local(l):
		return usePreferred
	default:
		return useOverflow
	}
}

// notes say how the process chooses among its candidates.
func (c *cluster) notes() []string {
	usable := 0
	for _, l := range c.endpoints.Localities {
		usable += len(l.Endpoints)
	}
	if usable == 0 {
		return nil
	}
	notes := []string{c.chosen()}
	if note := c.zones(); note != "" {
		notes = append(notes, note)
	}
	b := c.balancing
	if n := int(b.Subset); n > 0 && n < usable {
		notes = append(notes, fmt.Sprintf("each process uses %d of the %d, drawn at random: which, only it knows", n, usable))
	}
	if b.Breaker != nil || b.Outlier != nil {
		notes = append(notes, fmt.Sprintf("it leaves out those that failed it lately, up to %d %% of all: which, only it knows", b.MaxEjectedPercent))
	}
	return notes
}

// chosen is what the policy does.
func (c *cluster) chosen() string {
	switch c.balancing.Policy {
	case resource.RoundRobin:
		return "they take turns (round-robin)"
	case resource.LeastRequest:
		return fmt.Sprintf("of %d drawn at random the one with the fewest open calls (least-request)", c.balancing.Choices)
	case resource.WeightedRoundRobin:
		return "they take turns by the weight that their load reports come to (weighted-round-robin)"
	case resource.RingHash:
		return c.hashed()
	case resource.PeakEWMA:
	}
	return "of two drawn at random the one that is faster and has fewer open calls (peak-ewma)"
}

func (c *cluster) hashed() string {
	h := c.traffic.HashHeader
	switch {
	case h == "":
		return "one key, one endpoint: the application gives the key (ring-hash)"
	case len(c.md[h]) == 0:
		return fmt.Sprintf("one value of header %s, one endpoint: the call has none, so any, unless the application gives a key (ring-hash)", h)
	default:
		return fmt.Sprintf("one value of header %s, one endpoint: that of %q (ring-hash)", h, strings.Join(c.md[h], ","))
	}
}

// zones is what the policy of zones comes to.
func (c *cluster) zones() string {
	z, own := c.balancing.Zone, place(c.caller.GetRegion(), c.caller.GetZone())
	switch {
	case !z.Prefer:
		return ""
	case c.zoned():
		return fmt.Sprintf("zone %s first, which is the process's own; others above %v open calls for each endpoint in use", own, z.High)
	case c.caller.GetZone() != "":
		return fmt.Sprintf("zones are alike: none of them is in %s, the process's own zone", own)
	case c.caller.GetInstance() != "":
		return "zones are alike: the process does not say where it is (TULLE_ZONE)"
	default:
		return "a process keeps to its own zone first: name one to see which those are"
	}
}

func place(region, zone string) string {
	if region == "" {
		return zone
	}
	return region + "/" + zone
}
