package telemetry

import (
	"maps"
	"slices"
	"time"
)

// saveEvery is the time between two saves: what a crash costs of the window. Counts
// it does not cost: processes go on from where they were.
const saveEvery = 30 * time.Second

// save writes what is known; of single instances only where it is the last time: they
// are most of what there is, and known for ten minutes. A failure is logged; what was
// saved before stays.
func (s *Server) save(last bool) {
	if s.disk == nil {
		return
	}
	s.saving.Lock()
	defer s.saving.Unlock()
	files, state := s.encode(time.Now(), last)
	var err error
	for name, content := range files {
		if err == nil {
			err = s.disk.write(name, content)
		}
	}
	if err == nil {
		err = s.disk.write(fileState, state)
	}
	if err != nil {
		// The names that were not written are written next time.
		clear(s.disk.saved)
		s.config.Logger.Warn("what telemetry knows could not be saved, and will be missing after a restart", "error", err)
		return
	}
	s.disk.tidy()
}

// encode writes what is known into memory: the files of periods that are over and are
// not saved yet, and the state that names all files.
func (s *Server) encode(now time.Time, last bool) (files map[string][]byte, state []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, d := &s.window, s.disk
	w.advance(now)
	current := w.now / chunkSlots
	over := map[int64]int{} // lines, by period that is to be saved
	for _, l := range w.lines {
		if l.slot < w.now {
			l.flush()
		}
		for i := range l.chunks {
			if p := l.chunks[i].period; p < current && p >= current-windowChunks && (d.saved[p] == "" || w.late[p]) {
				over[p]++
			}
		}
	}
	files = make(map[string][]byte, len(over))
	for p, lines := range over {
		var e encoder
		e.number(uint64(lines))
		for _, l := range w.lines {
			for i := range l.chunks {
				if l.chunks[i].period == p {
					e.def(&l.def)
					e.chunk(&l.chunks[i])
				}
			}
		}
		d.saved[p] = d.name(p)
		files[d.saved[p]] = e.b
	}
	clear(w.late)
	for p := range d.saved {
		if p < current-windowChunks {
			delete(d.saved, p)
		}
	}

	e := encoder{b: make([]byte, 0, d.size+d.size/8)}
	e.time(now)
	e.time(s.since)
	e.number(uint64(w.now))
	e.number(d.next)
	e.number(uint64(len(d.saved)))
	for _, p := range slices.Sorted(maps.Keys(d.saved)) {
		e.number(uint64(p))
		e.text(d.saved[p])
	}
	e.number(uint64(len(w.lines)))
	for _, l := range w.lines {
		e.def(&l.def)
		e.line(l, current)
	}
	e.number(uint64(len(s.reporters)))
	for _, r := range s.reporters {
		e.reporter(r, last)
	}
	e.rows(s.services)
	d.size = len(e.b)
	return files, e.b
}

// reporter writes a process, with where its series are.
func (e *encoder) reporter(r *reporter, lines bool) {
	for _, text := range []string{r.key.id, r.key.instance, r.service, r.version, r.zone, r.library} {
		e.text(text)
	}
	e.truth(r.stock)
	e.number(r.reports)
	e.time(r.seen)
	for _, n := range []uint64{r.nacks, r.denied, r.limited, r.shed, r.injected, r.panicking} {
		e.number(n)
	}
	e.truth(lines)
	if lines {
		e.line(r.in, 0)
		e.line(r.out, 0)
	}
	e.number(uint64(len(r.series)))
	for key, se := range r.series {
		e.text(key)
		e.number(se.start)
		e.number(se.at)
		e.number(se.report)
		e.float(se.value)
		e.bytes(se.last)
	}
}

// rows writes the callers of all services.
func (e *encoder) rows(services map[string]*table) {
	e.number(uint64(len(services)))
	for service, t := range services {
		e.text(service)
		e.number(uint64(len(t.rows)))
		for k, r := range t.rows {
			for _, text := range []string{k.caller, k.address, k.method, r.policy} {
				e.text(text)
			}
			e.number(r.allowed)
			e.number(r.denied)
			e.number(r.wouldDeny)
			e.time(r.seen)
		}
	}
}
