package telemetry

import (
	"math"
	"time"
)

// maxSpread is over how many slots, at most, a report is spread that comes after a
// gap: ten minutes, so that not all of an outage seems to have happened in its last
// five seconds.
const maxSpread = 2 * chunkSlots

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
		instance := []byte(escaped(string(r.get(src.attributes, "service.instance.id"))))
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
			s.hear(rep, slot)
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

// hear notes that a process speaks for the time since it last did.
func (s *Server) hear(rep *reporter, slot int64) {
	l := s.window.line(def{family: familyHeard, source: rep.service})
	if l == nil {
		return
	}
	gap := min(rep.gap, Window)
	if rep.reports == 1 {
		gap = slotTime
	}
	rec := &s.scratch.record
	rec.reset()
	rec.counts[0] = uint64(gap / time.Millisecond)
	s.spread.each(rec, slotsOf(gap), func(back int64, rec *record) { s.window.record(l, slot-back, rec) })
}

// slotsOf is over how many slots a report is spread after a silence.
func slotsOf(gap time.Duration) int64 {
	if slots := int64(min(gap/slotTime, maxSpread)); slots > 2 {
		return slots
	}
	return 1
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
		if len(f.value) <= maxName && !bad(f.value) {
			*f.to = escaped(f.value)
		}
	}
}

// point counts one point, and says why not.
func (s *Server) point(rep *reporter, r *report, p *point, slot int64, now time.Time) reason {
	if p.metric.stock() && !rep.stock {
		return reasonKind // it would be counted twice
	}
	buffer := s.scratch.key[:0]
	buffer = append(buffer, byte(p.metric))
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
	delta, value := have, p.value
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
	s.spread.each(rec, slotsOf(how.gap), func(back int64, rec *record) {
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
