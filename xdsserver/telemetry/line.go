package telemetry

import (
	"encoding/binary"
	"slices"
	"time"
)

const (
	// slotTime is how finely the window tells time.
	slotTime = 5 * time.Second
	// chunkSlots are written together: five minutes.
	chunkSlots = 60
	// windowChunks are kept beside the one that is written to: one hour.
	windowChunks = int64(Window / slotTime / chunkSlots)
	// finePeriods are how many chunks have narrow buckets in their slots: those in which
	// something may still be counted.
	finePeriods = maxSpread/chunkSlots + 1
	// lineBytes and chunkBytes are what a line and a chunk take beside their data,
	// about.
	lineBytes  = 400
	chunkBytes = 64
)

// slotOf is the slot of a moment: they are counted from 1970.
func slotOf(at time.Time) int64 { return at.Unix() / int64(slotTime/time.Second) }

// slotEnd is when a slot ends.
func slotEnd(slot int64) time.Time { return time.Unix((slot+1)*int64(slotTime/time.Second), 0) }

// A chunk holds the records of one line in five minutes, those of slots in which
// there was something. What is written in it does not change any more: readers use
// it without a lock.
type chunk struct {
	// period is the chunk's time, in chunks since 1970.
	period int64
	// data holds, for each record, its slot within the chunk in a byte, its length and
	// itself.
	data []byte
	// total is all of data as one record; nil while there comes more.
	total []byte
	// coarse says that the records of slots have wide buckets. The total's are as fine as
	// ever.
	coarse bool
}

// each calls yield with each record of the chunk between two slots, both included,
// until it returns false. The record is yield's until it returns.
func (c *chunk) each(from, to int64, r *record, yield func(slot int64, r *record) bool) bool {
	base := c.period * chunkSlots
	for data := c.data; len(data) > 0; {
		slot := base + int64(data[0])
		size, n := binary.Uvarint(data[1:])
		if n <= 0 || size > uint64(len(data)-1-n) {
			return true // no chunk that was written here
		}
		body := data[1+n:][:size]
		data = data[1+n+int(size):]
		if slot < from || slot > to {
			continue
		}
		if !r.decode(body) {
			continue
		}
		if c.coarse {
			r.times.narrow()
		}
		if !yield(slot, r) {
			return false
		}
	}
	return true
}

// appendRecord writes a record of a slot behind others. scratch is used and returned.
func (c *chunk) appendRecord(slot int64, r *record, scratch []byte) []byte {
	scratch = r.append(scratch[:0])
	c.data = append(c.data, byte(slot-c.period*chunkSlots))
	c.data = binary.AppendUvarint(c.data, uint64(len(scratch)))
	c.data = append(c.data, scratch...)
	return scratch
}

// closed is the chunk with its total, in as much memory as it needs.
func (c *chunk) closed() chunk {
	var all, one record
	c.each(c.period*chunkSlots, (c.period+1)*chunkSlots-1, &one, func(_ int64, r *record) bool {
		all.add(r)
		return true
	})
	return chunk{period: c.period, data: slices.Clone(c.data), total: all.append(nil)}
}

// coarsened is a closed chunk with wide buckets in the records of slots: a quarter of
// the memory for what nobody asks for but as a part of a long time.
func (c *chunk) coarsened() chunk {
	if c.coarse || c.total == nil {
		return *c
	}
	wide := chunk{period: c.period, total: c.total, coarse: true}
	var one record
	var scratch []byte
	c.each(0, slotEndless, &one, func(slot int64, r *record) bool {
		r.times = r.times.widen()
		scratch = wide.appendRecord(slot, r, scratch)
		return true
	})
	wide.data = slices.Clone(wide.data)
	return wide
}

// part is what a closed chunk holds of some slots. Of a coarse one, what is in a wide
// bucket is divided as it is in the total.
func (c *chunk) part(from, to int64, one *record) record {
	var all record
	c.each(from, to, one, func(_ int64, r *record) bool {
		all.add(r)
		return true
	})
	if c.coarse && one.decode(c.total) {
		all.times = all.times.like(one.times)
	}
	return all
}

// size is what the chunk takes.
func (c *chunk) size() int { return chunkBytes + cap(c.data) + len(c.total) }

// A line is what is known over time of calls that are alike. Its server's lock guards
// it; the chunks that are in it do not change.
type line struct {
	def def
	// keep is how many closed chunks are kept.
	keep int64
	// chunks are in order; the last is written to. tail is the record of the last
	// slot, which is not in a chunk yet.
	chunks []chunk
	tail   record
	slot   int64
	// bytes is what the line takes, as it was counted.
	bytes int
	// gone says that the window does not have it any more.
	gone bool
}

// size is what the line takes.
func (l *line) size() int {
	n := lineBytes + l.def.size() + 16*cap(l.tail.times)
	for i := range l.chunks {
		n += l.chunks[i].size()
	}
	return n
}

// add counts a record in a slot.
func (l *line) add(slot int64, r *record) {
	switch {
	case slot == l.slot:
		l.tail.add(r)
	case slot > l.slot:
		l.flush()
		l.slot = slot
		l.tail.add(r)
	default:
		l.insert(slot, r)
	}
}

// flush writes the tail into the chunk that it belongs to.
func (l *line) flush() {
	if l.tail.empty() {
		return
	}
	period := l.slot / chunkSlots
	n := len(l.chunks)
	if n == 0 || l.chunks[n-1].period != period {
		if n > 0 && l.chunks[n-1].total == nil {
			l.chunks[n-1] = l.chunks[n-1].closed()
		}
		l.expire(period)
		l.chunks = append(l.chunks, chunk{period: period})
		n = len(l.chunks)
	}
	var buffer [256]byte
	last := &l.chunks[n-1]
	last.appendRecord(l.slot, &l.tail, buffer[:0])
	if last.total != nil { // it was over when this was told
		*last = last.closed()
	}
	l.tail.reset()
}

// expire lets go of what is too old in a period, and reports whether anything is left.
func (l *line) expire(period int64) bool {
	old := 0
	for old < len(l.chunks) && l.chunks[old].period < period-l.keep {
		old++
	}
	l.chunks = slices.Delete(l.chunks, 0, old)
	return len(l.chunks) > 0 || !l.tail.empty()
}

// coarsen widens the buckets of what is so old that nothing is told of it any more.
func (l *line) coarsen(period int64) {
	for i := range l.chunks {
		if l.chunks[i].period > period-finePeriods {
			return
		}
		l.chunks[i] = l.chunks[i].coarsened()
	}
}

// insert counts a record in a slot that has passed. The chunk is written anew:
// somebody may be reading the old one.
func (l *line) insert(slot int64, r *record) {
	period := slot / chunkSlots
	if period < l.slot/chunkSlots-l.keep {
		return
	}
	at, found := slices.BinarySearchFunc(l.chunks, period, func(c chunk, p int64) int { return int(c.period - p) })
	if !found {
		l.chunks = slices.Insert(l.chunks, at, chunk{period: period})
	}
	old := l.chunks[at]
	fresh := chunk{period: period}
	var one record
	var scratch []byte
	done := false
	old.each(0, slotEndless, &one, func(s int64, have *record) bool {
		if !done && s >= slot {
			done = true
			if s == slot {
				have.add(r)
			} else {
				scratch = fresh.appendRecord(slot, r, scratch)
			}
		}
		scratch = fresh.appendRecord(s, have, scratch)
		return true
	})
	if !done {
		fresh.appendRecord(slot, r, scratch)
	}
	if old.total != nil || at < len(l.chunks)-1 || period < l.slot/chunkSlots {
		fresh = fresh.closed()
	}
	l.chunks[at] = fresh
}

// slotEndless lies behind every slot.
const slotEndless = int64(1) << 60

// A view is what a line holds of some slots, for who reads it without the lock.
type view struct {
	def    *def
	chunks []chunk
	tail   record
	slot   int64
}

// view copies what the line holds between two slots into the workspace; the line's lock
// is held. It has nothing in it where the line has nothing then.
func (l *line) view(w *workspace, from, to int64) view {
	v := view{def: &l.def, slot: l.slot}
	first := from / chunkSlots
	at := len(l.chunks)
	for at > 0 && l.chunks[at-1].period >= first {
		at--
	}
	n := len(w.chunks)
	w.chunks = append(w.chunks, l.chunks[at:]...)
	v.chunks = w.chunks[n:]
	if l.slot >= from && l.slot <= to && !l.tail.empty() {
		n := len(w.tails)
		w.tails = append(w.tails, l.tail.times...)
		v.tail = record{counts: l.tail.counts, times: w.tails[n:]}
	}
	return v
}

func (v *view) empty() bool { return len(v.chunks) == 0 && v.tail.empty() }

// each calls yield with the records between two slots. Where whole is set, a chunk
// that lies between them is one record, of its last slot.
func (v *view) each(from, to int64, whole bool, r *record, yield func(slot int64, r *record) bool) {
	for i := range v.chunks {
		c := &v.chunks[i]
		first := c.period * chunkSlots
		last := first + chunkSlots - 1
		if last < from || first > to {
			continue
		}
		if whole && c.total != nil && first >= from && last <= to {
			if r.decode(c.total) && !yield(last, r) {
				return
			}
			continue
		}
		if whole && c.coarse {
			if part := c.part(from, to, r); !part.empty() && !yield(min(last, to), &part) {
				return
			}
			continue
		}
		if !c.each(from, to, r, yield) {
			return
		}
	}
	if !v.tail.empty() {
		yield(v.slot, &v.tail)
	}
}
