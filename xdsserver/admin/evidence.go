package admin

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
)

// A holder has the resources that a call is explained by.
type holder interface {
	// get returns a resource, nil where the holder has none, and what there is to say
	// of it.
	get(typeURL, name string) (resource.Resource, *adminv1.HeldResource)
}

// published has what is served.
type published struct{ *snapshot.Snapshot }

func (p published) get(typeURL, name string) (resource.Resource, *adminv1.HeldResource) {
	row := &adminv1.HeldResource{Type: kindOf(typeURL), Name: name, State: "missing"}
	r := p.Resource(typeURL, name)
	if r == nil {
		row.Note = "nothing is published under this name"
		return nil, row
	}
	row.State, row.Published = "published", r.Version
	return decode(typeURL, r.Any, row), row
}

// A process has what it accepted.
type process struct {
	held     *serve.Held
	snapshot *snapshot.Snapshot
}

func (p process) get(typeURL, name string) (resource.Resource, *adminv1.HeldResource) {
	r, row := published{p.snapshot}.get(typeURL, name)
	row.Note = ""
	h, asked := p.held.Holding(typeURL, name)
	if !asked {
		row.State, row.Note = "not asked", "the process did not ask for it since it connected"
		return p.assumed(r, row)
	}
	row.Version = h.Version
	if !h.At.IsZero() {
		row.At = timestamppb.New(h.At)
	}
	switch h.State {
	case serve.HoldingCurrent:
		row.State = "current"
	case serve.HoldingGone:
		row.State, row.Note = "gone", "the process was told that there is none"
		return nil, row
	case serve.HoldingRefused:
		row.State, row.Note = "refused", fmt.Sprintf("the process refuses %s: %s", h.Refused, h.Reason)
		if h.Any == nil && !h.Unknown {
			row.Note += "; it has no other"
			return nil, row
		}
	case serve.HoldingBehind:
		row.State, row.Note = "behind", behind(h)
	case serve.HoldingAsked:
		row.State, row.Note = "asked", "the process asked for it and was not answered yet"
	}
	if h.Any == nil {
		if h.Unknown {
			row.Note = join(row.GetNote(), "it has a version of before it reconnected, which this server does not have")
		}
		return p.assumed(r, row)
	}
	return decode(typeURL, h.Any, row), row
}

func behind(h serve.Holding) string {
	switch {
	case h.Current == "":
		return "it is no longer published, and the process still has it"
	case h.Version == h.Current:
		return "another version was sent meanwhile, and the process has not said that it let go of it"
	default:
		return fmt.Sprintf("%s is published, and the process has not acknowledged it", h.Current)
	}
}

// assumed goes on by what is published, where it is not known what the process has.
func (p process) assumed(r resource.Resource, row *adminv1.HeldResource) (resource.Resource, *adminv1.HeldResource) {
	if r == nil {
		row.Note = join(row.GetNote(), "nothing is published under this name")
		return nil, row
	}
	row.Assumed = true
	return r, row
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// kindOf is what people call a type.
func kindOf(typeURL string) string { return typeURL[strings.LastIndexByte(typeURL, '.')+1:] }

// decode reads an encoded Any as clients do; what cannot be read is nil, with a note.
func decode(typeURL string, encoded []byte, row *adminv1.HeldResource) resource.Resource {
	var wrapped anypb.Any
	err := proto.Unmarshal(encoded, &wrapped)
	if err == nil {
		var r resource.Resource
		if r, err = resource.Decode(typeURL, wrapped.GetValue()); err == nil {
			return r
		}
	}
	row.Note = join(row.GetNote(), fmt.Sprintf("it cannot be read: %v", err))
	return nil
}

// evidence is the configuration that a call to one service is explained by, as its
// client puts it together.
type evidence struct {
	from   holder
	config *resource.Config // nil where something is missing
	// resources are those that were looked at, in order.
	resources []*adminv1.HeldResource
	// missing is why there is nothing to go by; empty when there is.
	missing string
}

// assemble reads the Listener of a service and its routes. Clusters are read when
// they are needed.
func assemble(service string, from holder) *evidence {
	e := &evidence{from: from}
	listener, ok := read[*resource.Listener](e, resource.ListenerType, service)
	if !ok {
		e.missing = e.last()
		return e
	}
	routes := listener.Routes
	if routes == nil {
		if routes, ok = read[*resource.RouteConfiguration](e, resource.RouteType, listener.RouteName); !ok {
			e.missing = e.last()
			return e
		}
	}
	host := routes.VirtualHost(service)
	if host == nil {
		e.missing = fmt.Sprintf("%s has no virtual host for %s", routes.Name, service)
		return e
	}
	e.config = &resource.Config{Service: service, Listener: listener, VirtualHost: host, Clusters: map[string]*resource.ClusterConfig{}}
	return e
}

// read gets one resource and notes what there is to say of it.
func read[R resource.Resource](e *evidence, typeURL, name string) (R, bool) {
	r, row := e.from.get(typeURL, name)
	e.resources = append(e.resources, row)
	typed, ok := r.(R)
	return typed, ok
}

// last says of the resource that was looked at last why it is not there.
func (e *evidence) last() string {
	row := e.resources[len(e.resources)-1]
	return fmt.Sprintf("%s %s: %s", row.GetType(), row.GetName(), row.GetNote())
}

// clusters reads those of a route into the config.
func (e *evidence) clusters(r *resource.Route) {
	for i := range r.Clusters {
		name := r.Clusters[i].Name
		if e.config.Clusters[name] == nil {
			e.config.Clusters[name] = e.cluster(name)
		}
	}
}

func (e *evidence) cluster(name string) *resource.ClusterConfig {
	c := &resource.ClusterConfig{}
	var ok bool
	if c.Cluster, ok = read[*resource.Cluster](e, resource.ClusterType, name); !ok {
		c.Cluster, c.Err = nil, fmt.Errorf("%s", e.last())
		return c
	}
	if len(c.Cluster.PeerIDs) == 0 {
		c.Err = fmt.Errorf("cluster %s names no identity, so that no connection is made", name)
		return c
	}
	if c.Endpoints, ok = read[*resource.Endpoints](e, resource.EndpointsType, c.Cluster.EndpointsName); !ok {
		c.Endpoints, c.Err = nil, fmt.Errorf("%s", e.last())
	}
	return c
}

// held reports what a client makes of all that was looked at: whether it has all of
// it as it is published, and whether it refuses some.
func (e *evidence) held(by *serve.Held) (current, refused bool) {
	current = true
	for _, row := range e.resources {
		for _, typeURL := range []string{resource.ListenerType, resource.RouteType, resource.ClusterType, resource.EndpointsType} {
			if kindOf(typeURL) != row.GetType() {
				continue
			}
			h, ok := by.Holding(typeURL, row.GetName())
			current = current && ok && h.State == serve.HoldingCurrent
			refused = refused || ok && h.State == serve.HoldingRefused
		}
	}
	return current, refused
}
