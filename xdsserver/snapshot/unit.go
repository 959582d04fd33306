package snapshot

import (
	"fmt"
	"slices"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/translate"
)

// maxResource bounds one resource. A stock client takes 4 MiB in one response and
// breaks the stream over more, which no NACK would tell of; the rest is for the
// resources beside it.
const maxResource = 3 << 20

// A unit is what one service adds to a snapshot. Each part is made anew only when
// what it is made from has changed: of thousands of services, a change touches few.
type unit struct {
	input translate.Input
	// configuration is the Listener, the RouteConfiguration and the Clusters of
	// its clients, inbound those of its servers, assignments who takes its calls.
	configuration, inbound, assignments []*made
}

// made is one encoded resource, and what is known of it.
type made struct {
	kind     kind
	resource *Resource
	// placed is true once resource is known to be the value that the previous
	// Snapshot holds, if that has the same bytes.
	placed bool
	// refusal is why a client would not take it; empty while nothing is known
	// against it.
	refusal string
	// judged is true once grpc-go's client has given its verdict.
	judged bool
}

// value is the encoded message.
func (m *made) value() []byte { return m.resource.Any[len(m.resource.Any)-m.resource.size:] }

// A translator makes the parts of a unit, and decodes what it made as our own
// clients do. Tests make bad resources, and take them.
type translator struct {
	configuration, inbound, assignments func(translate.Input) []translate.Resource
	trust                               func(*model.Trust) []translate.Resource
	decode                              func(typeURL string, value []byte) (resource.Resource, error)
}

// update returns the unit for the input, which is u itself when nothing changed.
// u may be nil.
func (t translator) update(u *unit, in translate.Input) *unit {
	if u == nil {
		return &unit{
			input:         in,
			configuration: t.encodeAll(t.configuration(in), nil),
			inbound:       t.encodeAll(t.inbound(in), nil),
			assignments:   t.encodeAll(t.assignments(in), nil),
		}
	}
	sameConfiguration, sameInbound, sameAssignments := u.input.SameConfiguration(in), u.input.SameInbound(in), u.input.SameAssignments(in)
	if sameConfiguration && sameInbound && sameAssignments {
		return u
	}
	next := &unit{input: in, configuration: u.configuration, inbound: u.inbound, assignments: u.assignments}
	if !sameConfiguration {
		next.configuration = t.encodeAll(t.configuration(in), u.configuration)
	}
	if !sameInbound {
		next.inbound = t.encodeAll(t.inbound(in), u.inbound)
	}
	if !sameAssignments {
		next.assignments = t.encodeAll(t.assignments(in), u.assignments)
	}
	return next
}

// encodeAll encodes resources. One whose bytes are in old is taken from there,
// with what is known of it.
func (t translator) encodeAll(resources []translate.Resource, old []*made) []*made {
	out := make([]*made, 0, len(resources))
	for _, r := range resources {
		m := encode(r)
		known := slices.IndexFunc(old, func(o *made) bool {
			return o.kind == m.kind && o.resource.Name == r.Name && o.resource.Version == m.resource.Version
		})
		if known >= 0 {
			m = old[known]
		} else {
			t.check(m)
		}
		out = append(out, m)
	}
	return out
}

func encode(r translate.Resource) *made {
	value, err := marshal(r.Message)
	m := &made{kind: kindOf(r.TypeURL), resource: newResource(r.TypeURL, r.Name, value)}
	if err != nil {
		m.refuse(fmt.Sprintf("cannot be encoded: %v", err))
	}
	return m
}

// refuse notes why a client would not take the resource, as one that names it.
func (m *made) refuse(reason string) {
	m.refusal = fmt.Sprintf("%s %q: %s", m.kind, m.resource.Name, reason)
}

func newResource(typeURL, name string, value []byte) *Resource {
	return &Resource{Name: name, Version: versionOf(value), Any: wrap(typeURL, value), size: len(value)}
}

// check decodes the resource, and takes note of the clusters that routes lead to.
func (t translator) check(m *made) {
	if m.refusal != "" {
		return
	}
	if m.resource.size > maxResource {
		m.refuse(fmt.Sprintf("has %d bytes, and at most %d fit into a client's 4 MiB", m.resource.size, maxResource))
		return
	}
	decoded, err := t.decode(typeURLs[m.kind], m.value())
	if err != nil {
		m.refusal = err.Error() // it names the resource
		return
	}
	if got := decoded.ResourceName(); got != m.resource.Name {
		m.refuse(fmt.Sprintf("is encoded under the name %q", got))
		return
	}
	if routes, ok := decoded.(*resource.RouteConfiguration); ok {
		m.resource.routesTo = clustersOf(routes)
	}
}

func clustersOf(routes *resource.RouteConfiguration) []string {
	var names []string
	for _, host := range routes.VirtualHosts {
		for _, route := range host.Routes {
			for _, c := range route.Clusters {
				names = append(names, c.Name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
