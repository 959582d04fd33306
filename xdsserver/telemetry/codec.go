package telemetry

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// errFile is a file whose content is not what was written there.
var errFile = errors.New("it is damaged")

// An encoder writes what a decoder reads: numbers as varints, texts with their length.
type encoder struct{ b []byte }

func (e *encoder) number(n uint64) { e.b = binary.AppendUvarint(e.b, n) }

func (e *encoder) float(f float64) { e.number(math.Float64bits(f)) }

func (e *encoder) bytes(b []byte) {
	e.number(uint64(len(b)))
	e.b = append(e.b, b...)
}

func (e *encoder) text(s string) {
	e.number(uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) truth(t bool) {
	n := byte(0)
	if t {
		n = 1
	}
	e.b = append(e.b, n)
}

func (e *encoder) time(t time.Time) { e.number(uint64(max(t.UnixNano(), 0))) }

// A decoder reads until there is an error, which stays.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) number() uint64 {
	n, size := binary.Uvarint(d.b)
	if d.err != nil || size <= 0 {
		d.err = errFile
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) float() float64 { return math.Float64frombits(d.number()) }

// bytes are a part of what is read, and share its memory.
func (d *decoder) bytes() []byte {
	n := d.number()
	if n > uint64(len(d.b)) {
		d.err = errFile
	}
	if d.err != nil {
		return nil
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) text() string { return string(d.bytes()) }

func (d *decoder) truth() bool {
	if d.err != nil || len(d.b) == 0 {
		d.err = errFile
		return false
	}
	t := d.b[0] != 0
	d.b = d.b[1:]
	return t
}

func (d *decoder) time() time.Time { return time.Unix(0, int64(min(d.number(), math.MaxInt64))) }

// count reads how many things follow, each of at least a byte.
func (d *decoder) count() int {
	n := d.number()
	if n > uint64(len(d.b)) {
		d.err = errFile
		return 0
	}
	return int(n)
}

func (e *encoder) def(d *def) {
	e.number(uint64(d.family))
	for _, s := range []string{d.source, d.destination, d.route, d.method, d.cluster, d.peer} {
		e.text(s)
	}
	e.truth(d.local)
	e.number(uint64(d.security))
}

func (d *decoder) def() def {
	x := def{family: family(min(d.number(), math.MaxUint8))}
	for _, s := range []*string{&x.source, &x.destination, &x.route, &x.method, &x.cluster, &x.peer} {
		*s = d.text()
	}
	x.local = d.truth()
	x.security = security(d.number())
	if x.family == 0 || x.family > familyHeard || x.security > securityUnknown {
		d.err = errFile
	}
	return x
}

func (e *encoder) chunk(c *chunk) {
	e.number(uint64(c.period))
	e.bytes(c.data)
	e.truth(c.total != nil)
	if c.total != nil {
		e.bytes(c.total)
		e.truth(c.coarse)
	}
}

func (d *decoder) chunk() chunk {
	c := chunk{period: int64(min(d.number(), math.MaxInt32))}
	c.data = append([]byte(nil), d.bytes()...)
	if d.truth() {
		c.total = append([]byte{}, d.bytes()...)
		c.coarse = d.truth()
	}
	return c
}

// line writes what changes of a line: its tail, and the chunks from a period on.
func (e *encoder) line(l *line, from int64) {
	e.number(uint64(max(l.slot, 0)))
	e.bytes(l.tail.append(nil))
	at := len(l.chunks)
	for at > 0 && l.chunks[at-1].period >= from {
		at--
	}
	e.number(uint64(len(l.chunks) - at))
	for i := range l.chunks[at:] {
		e.chunk(&l.chunks[at+i])
	}
}

func (d *decoder) line(l *line) {
	l.slot = int64(min(d.number(), math.MaxInt32*chunkSlots))
	if !l.tail.decode(d.bytes()) {
		d.err = errFile
	}
	last := int64(-1)
	for n := d.count(); n > 0 && d.err == nil; n-- {
		c := d.chunk()
		if c.period <= last || c.period > l.slot/chunkSlots {
			d.err = errFile
			return
		}
		last = c.period
		l.chunks = append(l.chunks, c)
	}
}
