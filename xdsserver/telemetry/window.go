package telemetry

import "time"

const (
	// Window is how far back queries reach.
	Window = time.Hour
	// shortWindow is how far back single instances are known.
	shortWindow = 10 * time.Minute
	// shortChunks are the closed chunks of an instance's lines.
	shortChunks = int64(shortWindow/slotTime/chunkSlots) - 1
)

const (
	// maxLines bounds the lines of one service, maxAllLines all: beyond them, lines are
	// folded.
	maxLines    = 4_000
	maxAllLines = 40_000
	// maxLineBytes bounds what the lines of one service take, maxAllLineBytes what all
	// do: beyond them the oldest chunks go. 500 services with thirteen lines each, in all
	// of which there are forty calls a second, take 195 MB.
	maxLineBytes    = 32 << 20
	maxAllLineBytes = 256 << 20
)

// A window holds the lines of all services. Its server's lock guards it.
type window struct {
	lines map[def]*line
	// owners is what the lines of a service take, by its name.
	owners map[string]*size
	total  size
	// ownBytes and allBytes are maxLineBytes and maxAllLineBytes.
	ownBytes, allBytes int
	// now is the slot of the last change.
	now int64
	// folded counts records of lines that are not kept apart, evicted chunks that went
	// before their time.
	folded, evicted uint64
	// late are the periods that were over when something was counted in them.
	late map[int64]bool
}

func newWindow() window {
	return window{
		lines: make(map[def]*line), owners: make(map[string]*size), late: make(map[int64]bool),
		ownBytes: maxLineBytes, allBytes: maxAllLineBytes,
	}
}

// advance moves the window to a moment, and returns its slot. A clock that was set
// back by less than a minute stands still; by more, what lies in the future is
// forgotten.
func (w *window) advance(now time.Time) int64 {
	slot := slotOf(now)
	if w.now-slot > int64(time.Minute/slotTime) {
		for _, l := range w.lines {
			w.drop(l)
		}
		w.now = slot
	}
	w.now = max(w.now, slot)
	return w.now
}

// line returns the line of a def, or of those that it is folded into where there is
// no room for it; nil where there is no room even for these.
func (w *window) line(d def) *line {
	if l := w.lines[d]; l != nil {
		return l
	}
	owner := d.owner()
	for level := range 3 {
		if level > 0 {
			d = d.folded(level)
			if l := w.lines[d]; l != nil {
				w.folded++
				return l
			}
		}
		own := w.owners[owner]
		if (own == nil || own.rows < (level+1)*maxLines) && w.total.rows < (level+1)*maxAllLines {
			break
		}
		if level == 2 {
			return nil
		}
	}
	l := &line{def: d, keep: windowChunks}
	w.put(l)
	return l
}

// put enters a line.
func (w *window) put(l *line) {
	l.gone = false
	w.lines[l.def] = l
	l.bytes = 0
	w.account(l, 1)
}

// account counts what a line takes now, and that there are so many more lines.
func (w *window) account(l *line, rows int) {
	own := w.owners[l.def.owner()]
	if own == nil {
		own = &size{}
		w.owners[l.def.owner()] = own
	}
	n := l.size()
	own.add(rows, n-l.bytes)
	w.total.add(rows, n-l.bytes)
	l.bytes = n
}

// drop forgets a line.
func (w *window) drop(l *line) {
	if w.lines[l.def] != l {
		return
	}
	delete(w.lines, l.def)
	owner := l.def.owner()
	own := w.owners[owner]
	own.add(-1, -l.bytes)
	w.total.add(-1, -l.bytes)
	if own.rows == 0 {
		delete(w.owners, owner)
	}
	*l = line{def: l.def, keep: l.keep, gone: true}
}

// record counts a record in the line, which is entered again if it had to go.
func (w *window) record(l *line, slot int64, r *record) {
	if l.gone {
		if other := w.lines[l.def]; other != nil {
			l = other
		} else {
			w.put(l)
		}
	}
	if p := slot / chunkSlots; p < w.now/chunkSlots {
		w.late[p] = true
	}
	l.add(slot, r)
}

// sweep lets go of what is too old, and of what is too much.
func (w *window) sweep() {
	period := w.now / chunkSlots
	for _, l := range w.lines {
		if l.slot < w.now {
			l.flush()
		}
		if n := len(l.chunks); n > 0 && l.chunks[n-1].period < period && l.chunks[n-1].total == nil {
			l.chunks[n-1] = l.chunks[n-1].closed()
		}
		l.coarsen(period)
		if !l.expire(period) && w.now-l.slot > windowChunks*chunkSlots {
			w.drop(l)
			continue
		}
		w.account(l, 0)
	}
	for owner, own := range w.owners {
		if own.bytes > w.ownBytes {
			w.evict(w.ownBytes, own, func(l *line) bool { return l.def.owner() == owner })
		}
	}
	if w.total.bytes > w.allBytes {
		w.evict(w.allBytes, &w.total, func(*line) bool { return true })
	}
}

// evict lets the oldest chunks of some lines go until these take no more than the limit.
func (w *window) evict(limit int, taken *size, of func(*line) bool) {
	for period := w.now/chunkSlots - windowChunks; period <= w.now/chunkSlots && taken.bytes > limit; period++ {
		for _, l := range w.lines {
			if of(l) && len(l.chunks) > 0 && l.chunks[0].period <= period {
				l.chunks = append([]chunk(nil), l.chunks[1:]...)
				w.evicted++
				w.account(l, 0)
			}
			if taken.bytes <= limit {
				break
			}
		}
	}
}

// trim lets go of what is too much, between two sweeps.
func (w *window) trim() {
	for _, own := range w.owners {
		if own.bytes > w.ownBytes {
			w.sweep()
			return
		}
	}
	if w.total.bytes > w.allBytes {
		w.sweep()
	}
}
