package telemetry

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// loadWithin bounds the time that a start waits for the window: what is not read until
// then, the oldest, is left behind.
const loadWithin = 3 * time.Second

// load reads what the server before this one knew.
func (s *Server) load() {
	begun := time.Now()
	state, err := s.disk.read(fileState)
	if errors.Is(err, fs.ErrNotExist) {
		s.disk.forget()
		return
	}
	var periods map[int64]string
	if err == nil {
		periods, err = s.decode(state, begun)
	}
	if err != nil {
		s.config.Logger.Warn("what telemetry knew before cannot be read, and is forgotten", "dir", s.disk.dir, "error", err)
		forgotten := New(s.config)
		s.window, s.totals, s.since = forgotten.window, forgotten.totals, forgotten.since
		s.reporters, s.identities, s.reported = forgotten.reporters, forgotten.identities, forgotten.reported
		s.services, s.total = forgotten.services, forgotten.total
		s.disk.forget()
		return
	}
	order := make([]int64, 0, len(periods))
	for p := range periods {
		order = append(order, p)
	}
	slices.Sort(order)
	slices.Reverse(order) // the newest first
	left := 0
	for _, p := range order {
		if p < s.window.now/chunkSlots-windowChunks {
			continue
		}
		if time.Since(begun) > loadWithin {
			left++
			continue
		}
		content, readErr := s.disk.read(periods[p])
		if readErr == nil {
			readErr = s.decodePeriod(content, p)
		}
		if readErr != nil {
			left++
			err = readErr
			continue
		}
		s.disk.saved[p] = periods[p]
	}
	for _, l := range s.window.lines {
		slices.SortFunc(l.chunks, func(a, b chunk) int { return int(a.period - b.period) })
		s.window.account(l, 0)
	}
	if left > 0 {
		s.config.Logger.Warn("a part of what telemetry knew before is left behind", "minutes", left*int(chunkSlots*slotTime/time.Minute), "error", err)
	}
	s.disk.tidy()
}

// decode reads the state, and returns the files of periods that are over.
func (s *Server) decode(b []byte, now time.Time) (map[int64]string, error) {
	d := decoder{b: b}
	saved := d.time()
	s.since = d.time()
	slot := int64(d.number())
	s.disk.next = d.number()
	if d.err == nil && saved.After(now.Add(time.Minute)) {
		return nil, fmt.Errorf("it was saved at %s, which is to come", saved.UTC().Format(time.RFC3339))
	}
	periods := map[int64]string{}
	for n := d.count(); n > 0 && d.err == nil; n-- {
		p := int64(d.number())
		periods[p] = d.text()
	}
	s.window.now = slot
	for n := d.count(); n > 0 && d.err == nil; n-- {
		l := &line{def: d.def(), keep: windowChunks}
		if d.line(l); d.err != nil || l.slot > slot || s.window.lines[l.def] != nil {
			return nil, errFile
		}
		s.window.put(l)
	}
	for n := d.count(); n > 0 && d.err == nil; n-- {
		s.decodeReporter(&d, now)
	}
	for n := d.count(); n > 0 && d.err == nil; n-- {
		s.decodeRows(&d)
	}
	if d.err == nil && len(d.b) > 0 {
		d.err = errFile
	}
	if d.err == nil {
		s.window.advance(now)
	}
	return periods, d.err
}

// decodePeriod reads the chunks of one period.
func (s *Server) decodePeriod(b []byte, period int64) error {
	d := decoder{b: b}
	for n := d.count(); n > 0 && d.err == nil; n-- {
		of := d.def()
		c := d.chunk()
		if d.err != nil || c.period != period {
			return errFile
		}
		l := s.window.lines[of]
		if l == nil {
			l = &line{def: of, keep: windowChunks}
			s.window.put(l)
		}
		if slices.ContainsFunc(l.chunks, func(have chunk) bool { return have.period == period }) {
			return errFile
		}
		if l.slot/chunkSlots < period {
			l.slot = (period+1)*chunkSlots - 1
		}
		if period <= s.window.now/chunkSlots-finePeriods {
			c = c.coarsened()
		}
		l.chunks = append(l.chunks, c)
	}
	return d.err
}

// decodeReporter reads a process, and joins its series to what they are counted in.
func (s *Server) decodeReporter(d *decoder, now time.Time) {
	key := reporterKey{id: d.text(), instance: d.text()}
	service := d.text()
	if d.err != nil || s.reporters[key] != nil {
		d.err = errFile
		return
	}
	r := s.newReporter(service, key, now)
	r.version, r.zone, r.library = d.text(), d.text(), d.text()
	r.stock = d.truth()
	r.reports = d.number()
	r.seen = d.time()
	counts := []*uint64{&r.nacks, &r.denied, &r.limited, &r.shed, &r.injected, &r.panicking}
	for _, n := range counts {
		*n = d.number()
	}
	if d.truth() {
		d.line(r.in)
		d.line(r.out)
	}
	for n := d.count(); n > 0 && d.err == nil; n-- {
		name := d.bytes()
		se := series{start: d.number(), at: d.number(), report: d.number(), value: d.float()}
		last := d.bytes()
		if d.err == nil {
			s.restore(r, name, &se, last)
		}
	}
}

// restore makes a series from its name, as newSeries made it from its first point.
// What there is no room for is left out: its next point is one of a new series.
func (s *Server) restore(r *reporter, name []byte, was *series, last []byte) {
	if len(name) == 0 || int(name[0]) >= len(metricNames) {
		return
	}
	var rep report
	p := point{metric: metric(name[0])}
	for rest := name[1:]; len(rest) > 0; {
		one, more, _ := bytes.Cut(rest, []byte{1})
		k, v, _ := bytes.Cut(one, []byte{0})
		rep.attributes = append(rep.attributes, attribute{key: k, value: v})
		rest = more
	}
	p.attributes = span{0, len(rep.attributes)}
	if _, ok := decodeHistogram(nil, last); !ok {
		return
	}
	se, why := s.newSeries(r, &rep, &p)
	if why != reasonNone {
		return
	}
	se.start, se.at, se.report, se.value = was.start, was.at, was.report, was.value
	se.last = append([]byte(nil), last...)
	r.series[string(name)] = se
	s.weigh(r, 0, se.size(string(name)))
	if se.metric.gauge() && se.report == r.reports {
		p.value = se.value
		r.gauge(se, &p)
	}
}

// decodeRows reads the callers of a service.
func (s *Server) decodeRows(d *decoder) {
	service := d.text()
	for n := d.count(); n > 0 && d.err == nil; n-- {
		k := key{caller: d.text(), address: d.text(), method: d.text()}
		was := row{policy: d.text(), allowed: d.number(), denied: d.number(), wouldDeny: d.number(), seen: d.time()}
		if d.err != nil {
			return
		}
		if r := s.row(service, k); r != nil {
			s.settle(service, r, was.policy, was.seen)
			r.allowed, r.denied, r.wouldDeny = was.allowed, was.denied, was.wouldDeny
		}
	}
}
