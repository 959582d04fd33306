package telemetry

import "github.com/tulle-mesh/tulle/mesh/spiffe"

// newSeries makes what counts the points of a series, and says why not.
func (s *Server) newSeries(rep *reporter, r *report, p *point) (*series, reason) {
	for _, a := range r.attributes[p.attributes.from:p.attributes.to] {
		key, value := string(a.key), string(a.value)
		if len(key) > maxName || bad(key) || bad(value) || !becoming(key, value) {
			return nil, reasonText
		}
	}
	get := func(key string) string { return string(r.get(p.attributes, key)) }
	se := &series{metric: p.metric}
	switch m := p.metric; {
	case m.histogram():
		d := rep.def(m, get)
		se.code = parseCode(get("grpc.status"))
		if se.line = s.window.line(d); se.line == nil {
			return nil, reasonRoom
		}
		se.total = s.totals.of(d)
		switch d.family {
		case familyServed:
			se.inst = rep.in
		case familyCall:
			se.inst = rep.out
		default:
		}
	case m >= metricRetries && m <= metricMirrored:
		d := def{family: familyCount, source: rep.service, destination: get("tulle.destination")}
		se.code = countOf(m, get)
		if se.line = s.window.line(d); se.line == nil {
			return nil, reasonRoom
		}
		se.total = s.totals.of(d)
	case m >= metricLatency && m <= metricInUse:
		k := endpointKey{get("tulle.destination"), get("tulle.cluster"), get("tulle.endpoint")}
		if se.endpoint = rep.endpoints[k]; se.endpoint == nil {
			if len(rep.endpoints) >= maxEndpoints {
				return nil, reasonSeries
			}
			se.endpoint = &endpoint{key: k}
			rep.endpoints[k] = se.endpoint
		}
		se.endpoint.local = get("tulle.local") == "true"
		se.side = get("tulle.guess")
	case m == metricAccess:
		if rep.service == Client || get("grpc.method") == "" {
			return nil, reasonText
		}
		se.row = &observation{
			key:     key{caller: get("tulle.source"), address: get("tulle.address"), method: get("grpc.method")},
			verdict: get("tulle.verdict"), policy: get("tulle.policy"),
		}
	case m == metricConnections || m == metricStreams:
		if se.side = get("tulle.side"); se.side != sideClient && se.side != sideServer {
			return nil, reasonText
		}
	}
	return se, reasonNone
}

const (
	sideClient = "client"
	sideServer = "server"
)

// def is what a histogram's series is of.
func (rep *reporter) def(m metric, get func(string) string) def {
	d := def{family: m.family(), method: get("grpc.method"), security: parseSecurity(get("tulle.security"))}
	switch {
	case d.family == familyServed:
		d.destination = rep.service
		d.peer = get("tulle.source")
		d.source = serviceOf(d.peer)
		return d
	case m.stock():
		d.destination = target(get("grpc.target"))
		if d.family == familyAttempt {
			d.cluster = escaped(get("grpc.lb.backend_service"))
		}
	default:
		d.destination, d.route = get("tulle.destination"), escaped(get("tulle.route"))
	}
	d.source, d.peer = rep.service, rep.key.id
	if d.family == familyAttempt {
		d.local = get("tulle.local") == "true"
		if d.cluster == "" {
			d.cluster = get("tulle.cluster")
		}
	}
	return d
}

// serviceOf is the service of an identity: Client for one that is none, and empty for
// who has none.
func serviceOf(id string) string {
	if id == "" {
		return ""
	}
	if parsed, err := spiffe.ParseID(id); err == nil && parsed.Service != "" {
		return parsed.Service
	}
	return Client
}

// countOf is the kind of a counter.
func countOf(m metric, get func(string) string) uint8 {
	switch m {
	case metricRetries:
		return countRetries
	case metricHedges:
		return countHedges
	case metricDenied:
		return countDenied
	case metricRefused:
		return countRefused
	case metricEjections:
		return countEjections
	case metricOpened:
		return countOpened
	default:
		switch get("tulle.outcome") {
		case "sent", "":
			return countMirrored
		case "failed":
			return countMirrorFailed
		}
		return countMirrorDropped
	}
}
