package telemetry

import "strings"

// A convention is how gRFC A66 names a metric of ours, and those of our attributes that
// its has.
type convention struct {
	name       string
	attributes []renamed
}

type renamed struct{ from, to, prefix string }

var conventions = map[string]convention{
	clientCalls: {"grpc.client.call.duration", []renamed{
		{"grpc.method", "grpc.method", ""},
		{"tulle.destination", "grpc.target", "mesh:///"},
	}},
	clientAttempts: {"grpc.client.attempt.duration", []renamed{
		{"grpc.method", "grpc.method", ""},
		{"tulle.destination", "grpc.target", "mesh:///"},
		{"tulle.cluster", "grpc.lb.backend_service", ""}, // gRFC A89
	}},
	serverCalls: {"grpc.server.call.duration", []renamed{
		{"grpc.method", "grpc.method", ""},
	}},
}

// GRPC returns the points under the names, and by the attributes, that gRFC A66 and A89
// give to every gRPC library, so that dashboards made for those show the mesh's calls:
// grpc.client.call.duration, grpc.client.attempt.duration and grpc.server.call.duration.
// Points that these do not tell apart are one, and one that does not shrink when a part
// of it was idle and has left.
func (s *Snapshot) GRPC() []Point {
	var points []Point
	places := map[string]int{}
	var key strings.Builder
	for _, part := range [][]Point{s.Points, s.past} {
		for i := range part {
			p := part[i]
			c, ok := conventions[p.Name]
			if !ok {
				continue
			}
			p.Name, p.Attributes = c.name, c.of(p.Attributes)
			key.Reset()
			key.WriteString(p.Name)
			for _, a := range p.Attributes {
				key.WriteByte(0)
				key.WriteString(a.Value)
			}
			key.WriteByte(byte(p.Code))
			if at, ok := places[key.String()]; ok {
				points[at].Merge(&p)
				continue
			}
			places[key.String()] = len(points)
			points = append(points, p)
		}
	}
	return points
}

func (c convention) of(attributes []Attribute) []Attribute {
	all := make([]Attribute, 0, len(c.attributes))
	for _, r := range c.attributes {
		for _, a := range attributes {
			if a.Key == r.from {
				all = append(all, Attribute{Key: r.to, Value: r.prefix + a.Value})
			}
		}
	}
	return all
}
