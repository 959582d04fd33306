package telemetry

import (
	"math"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// maxSpread is over how many slots, at most, a report is spread that comes after a
// gap: a quarter of an hour, so that not all of an outage seems to have happened in its last
// five seconds.
const maxSpread = 180

// take counts a report of one identity. address is where it comes from; it is the
// name of a process that has none.
func (s *Server) take(service, id, address string, r *report, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	slot := s.window.advance(now)
	s.stats.reports++
	s.stats.ignored += r.ignored
	for _, src := range r.sources {
		instance := r.get(src.attributes, "service.instance.id")
		if len(instance) == 0 {
			instance = []byte(address)
		}
		rep := s.reporter(service, id, instance, now)
		if rep == nil {
			r.refused[reasonRoom] += uint64(src.points.to - src.points.from)
			continue
		}
		if !rep.rate.AllowN(now, 1) {
			r.refused[reasonRate] += uint64(src.points.to - src.points.from)
			continue
		}
		rep.describe(r, src.attributes)
		if quiet := now.Sub(rep.seen); rep.reports == 0 || quiet > sameReport {
			rep.gap = quiet
			rep.reports++
		}
		rep.seen = now
		for i := src.points.from; i < src.points.to; i++ {
			s.stats.points++
			if why := s.point(rep, r, &r.points[i], slot, now); why != reasonNone {
				r.refused[why]++
			}
		}
	}
	for i, n := range r.refused {
		s.stats.refused[i] += n
	}
}

// describe takes what a process says of itself.
func (rep *reporter) describe(r *report, attributes span) {
	library := string(r.get(attributes, "tulle.library"))
	rep.stock = string(r.get(attributes, "telemetry.sdk.name")) != "tulle"
	for _, f := range []struct {
		to    *string
		value string
	}{
		{&rep.version, string(r.get(attributes, "service.version"))},
		{&rep.zone, string(r.get(attributes, "tulle.zone"))},
		{&rep.library, library},
	} {
		if len(f.value) <= maxName && !bad(f.value) && *f.to != f.value {
			*f.to = f.value
		}
	}
}

// point counts one point, and says why not.
func (s *Server) point(rep *reporter, r *report, p *point, slot int64, now time.Time) reason {
	if p.metric.stock() && !rep.stock {
		return reasonKind // it would be counted twice
	}
	buffer := append(s.scratch.key[:0], byte(p.metric))
	for _, a := range r.attributes[p.attributes.from:p.attributes.to] {
		buffer = append(append(append(append(buffer, a.key...), 0), a.value...), 1)
	}
	s.scratch.key = buffer
	se := rep.series[string(buffer)]
	fresh := se == nil
	if fresh {
		if !s.room(rep) {
			return reasonSeries
		}
		var why reason
		if se, why = s.newSeries(rep, r, p); why != reasonNone {
			return why
		}
		rep.series[string(buffer)] = se
		s.weigh(rep, 0, se.size(string(buffer)))
	}
	se.report = rep.reports
	if p.metric.gauge() {
		rep.gauge(se, p)
		return reasonNone
	}
	gap := rep.gap
	before := cap(se.last)
	defer func() { s.weigh(rep, 0, cap(se.last)-before) }()

	counts := true   // what it has more than before counts
	fromZero := true // and before was nothing
	switch {
	case fresh:
		// What was counted before anybody listened is nobody's: of it, nothing is
		// known but the sum.
		begun := p.start != 0 && int64(p.start) >= max(s.since.UnixNano(), now.Add(-Window).UnixNano())
		counts = begun
		if begun && rep.reports == 1 {
			gap = max(now.Sub(time.Unix(0, int64(p.start))), 0)
		}
	case p.start == se.start:
		if p.time < se.at {
			return reasonNone // late: it says less than is known
		}
		fromZero = false
		counts = gap <= Window // else it is not of this window
	case p.start < se.start:
		if p.time <= se.at {
			return reasonNone
		}
		counts = false // the clock was set, or it lies
	}
	told := se.at
	se.start, se.at = p.start, p.time
	how := counting{counts: counts, fromZero: fromZero, told: told, slot: slot, gap: gap, now: now}
	if p.metric.histogram() {
		return s.countTimes(se, r, p, how)
	}
	return s.countSum(rep, se, p, how)
}

// counting says how a point is counted.
type counting struct {
	// counts is whether it counts, fromZero whether there was nothing before.
	counts, fromZero bool
	// told is the time of the point before, as the sender's clock has it.
	told uint64
	// slot is where it is counted, gap how long nothing was heard.
	slot int64
	gap  time.Duration
	now  time.Time
}

// countTimes counts what a histogram has more than before.
func (s *Server) countTimes(se *series, r *report, p *point, how counting) reason {
	counts := how.counts
	have := r.buckets[p.buckets.from:p.buckets.to]
	why := reasonNone
	delta, value := histogram(have), p.value
	if !how.fromZero {
		last, _ := decodeHistogram(s.scratch.last[:0], se.last)
		last = last.coarse(p.of)
		s.scratch.last = last
		var ok bool
		delta, ok = minus(s.scratch.delta[:0], have, last)
		s.scratch.delta = delta
		switch value = max(p.value-se.value, 0); {
		case !ok && p.time <= how.told:
			return reasonNone // of the same moment, and sent before the other
		case !ok:
			counts, why = false, reasonDecreased
		}
	}
	if how.fromZero || len(delta) > 0 || !counts {
		s.scratch.encoded = appendHistogram(s.scratch.encoded[:0], have)
		if len(s.scratch.encoded) > cap(se.last) {
			se.last = make([]byte, 0, len(s.scratch.encoded)+len(s.scratch.encoded)/8)
		}
		se.last = append(se.last[:0], s.scratch.encoded...)
	}
	se.value = p.value
	if !counts || len(delta) == 0 {
		return why
	}
	rec := &s.scratch.record
	rec.reset()
	rec.counts[se.code] = delta.count()
	rec.times = append(rec.times, delta...)
	if se.total != nil {
		se.total.add(rec, value)
	}
	s.record(se, rec, how)
	return why
}

// record counts a record where a series counts, over the time that it may have taken.
func (s *Server) record(se *series, rec *record, how counting) {
	slots := int64(min(how.gap/slotTime, maxSpread))
	if slots <= 2 {
		slots = 1
	}
	s.spread.each(rec, slots, func(back int64, rec *record) {
		if se.line != nil {
			s.window.record(se.line, how.slot-back, rec)
		}
		if se.inst != nil {
			se.inst.add(how.slot-back, rec)
		}
	})
}

// A spreader divides a record over slots.
type spreader struct{ part record }

// each calls yield with the part of each slot, so many slots back. Together they are
// the whole; what cannot be divided is the newest slot's.
func (s *spreader) each(rec *record, slots int64, yield func(back int64, rec *record)) {
	if slots == 1 {
		yield(0, rec)
		return
	}
	for back := slots - 1; back >= 0; back-- {
		s.part.reset()
		for _, b := range rec.times {
			if n := share(b.count, slots, back); n > 0 {
				s.part.times = append(s.part.times, bucket{index: b.index, count: n})
			}
		}
		timed := len(rec.times) > 0
		for i, n := range rec.counts {
			switch {
			case n > 0 && timed: // a series has one code
				s.part.counts[i] = s.part.times.count()
			case n > 0:
				s.part.counts[i] = share(n, slots, back)
			}
		}
		if !s.part.empty() {
			yield(back, &s.part)
		}
	}
}

// share is how much of n the slot has that is so many back.
func share(n uint64, slots, back int64) uint64 {
	each, rest := n/uint64(slots), int64(n%uint64(slots))
	upTo := func(b int64) int64 { return (b*rest + slots - 1) / slots }
	return each + uint64(upTo(back+1)-upTo(back))
}

// countSum counts what a counter has more than before.
func (s *Server) countSum(rep *reporter, se *series, p *point, how counting) reason {
	value := math.Floor(p.value)
	before := se.value
	if how.fromZero {
		before = 0
	}
	if value < before && p.time <= how.told {
		return reasonNone
	}
	se.value = value
	if value < before {
		return reasonDecreased
	}
	more := uint64(value - before)
	if more == 0 {
		return reasonNone
	}
	rep.counter(se, more) // since the process began, whoever listened then
	if !how.counts {
		return reasonNone
	}
	switch {
	case se.row != nil:
		s.access(rep.service, se.row, more, how.now)
	case se.line != nil:
		rec := &s.scratch.record
		rec.reset()
		rec.counts[se.code] = more
		if se.total != nil {
			se.total.add(rec, 0)
		}
		s.record(se, rec, how)
	}
	return reasonNone
}

// counter adds to what a process is known to have done since it began.
func (rep *reporter) counter(se *series, more uint64) {
	var to *uint64
	switch se.metric {
	case metricLimited:
		to = &rep.limited
	case metricShed:
		to = &rep.shed
	case metricInjected:
		to = &rep.injected
	case metricPanics:
		to = &rep.panicking
	case metricNacks:
		to = &rep.nacks
	case metricAccess:
		if se.row != nil && se.row.verdict == verdictDenied {
			to = &rep.denied
		}
	default:
	}
	if to != nil {
		*to = sum(*to, more)
	}
}

// gauge takes the latest state.
func (rep *reporter) gauge(se *series, p *point) {
	n := int32(min(p.value, math.MaxInt32))
	se.value = p.value
	switch e := se.endpoint; se.metric {
	case metricConnections:
		rep.connections[se.side] = n
	case metricStreams:
		rep.streams[se.side] = n
	case metricExpiry:
		rep.expiry = p.value
	case metricStale:
		rep.stale = p.value
	default:
		if e == nil {
			return
		}
		if rep.endpoints[e.key] == nil {
			rep.endpoints[e.key] = e
		}
		e.report = rep.reports
		switch se.metric {
		case metricLatency:
			e.latency, e.guess = p.value, se.side == "true"
		case metricOpen:
			e.open = n
		case metricBreaker:
			e.breaker = n
		case metricEjected:
			e.ejected = n != 0
		case metricInUse:
			e.inUse = n != 0
		default:
		}
	}
}

// newSeries makes what counts the points of a series, and says why not.
func (s *Server) newSeries(rep *reporter, r *report, p *point) (*series, reason) {
	for _, a := range r.attributes[p.attributes.from:p.attributes.to] {
		if len(a.key) > maxName || bad(string(a.key)) || bad(string(a.value)) {
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
		if d.family == familyServed {
			se.inst = rep.in
		} else if d.family == familyCall {
			se.inst = rep.out
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
			d.cluster = get("grpc.lb.backend_service")
		}
	default:
		d.destination, d.route = get("tulle.destination"), get("tulle.route")
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

// target is the service of a gRPC target, "xds:///voting" or "voting:8080".
func target(text string) string {
	if i := strings.LastIndexByte(text, '/'); i >= 0 {
		text = text[i+1:]
	}
	host, _, _ := strings.Cut(text, ":")
	return host
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

// codeNames are the names of codes, as OTLP and gRPC write them (gRFC A66).
var codeNames = [otherCode]string{
	codes.OK:                 "OK",
	codes.Canceled:           "CANCELLED",
	codes.Unknown:            "UNKNOWN",
	codes.InvalidArgument:    "INVALID_ARGUMENT",
	codes.DeadlineExceeded:   "DEADLINE_EXCEEDED",
	codes.NotFound:           "NOT_FOUND",
	codes.AlreadyExists:      "ALREADY_EXISTS",
	codes.PermissionDenied:   "PERMISSION_DENIED",
	codes.ResourceExhausted:  "RESOURCE_EXHAUSTED",
	codes.FailedPrecondition: "FAILED_PRECONDITION",
	codes.Aborted:            "ABORTED",
	codes.OutOfRange:         "OUT_OF_RANGE",
	codes.Unimplemented:      "UNIMPLEMENTED",
	codes.Internal:           "INTERNAL",
	codes.Unavailable:        "UNAVAILABLE",
	codes.DataLoss:           "DATA_LOSS",
	codes.Unauthenticated:    "UNAUTHENTICATED",
}

var codesByName = func() map[string]uint8 {
	m := map[string]uint8{"CANCELED": uint8(codes.Canceled)}
	for i, name := range codeNames {
		m[name] = uint8(i)
	}
	return m
}()

// parseCode is the kind of a status code's name.
func parseCode(name string) uint8 {
	if c, ok := codesByName[name]; ok {
		return c
	}
	return otherCode
}

// codeName is the name of a kind.
func codeName(kind int) string {
	if kind < len(codeNames) {
		return codeNames[kind]
	}
	return "OTHER"
}

// failed reports whether a kind is a failure of the service, and no fault of the caller.
func failed(kind int) bool {
	switch codes.Code(kind) {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		return true
	default:
		return false
	}
}
