package telemetry

// maxTotals bounds what is kept for Prometheus: beyond it, totals are of Other.
const maxTotals = 10_000

// A totalKey tells totals apart: less than lines, since every one is a time series
// that somebody else keeps for weeks.
type totalKey struct {
	family              family
	source, destination string
	security            security
}

// A total is everything since the server started, of lines that are alike.
type total struct {
	key     totalKey
	seconds float64
	// encoded is the record, a tenth as large as it is in memory: counted over days its
	// histogram is wide, and there are thousands.
	encoded []byte
	// used is whether it changed since the last look for idle ones; idle counts looks.
	used bool
	idle int
	gone bool
	in   *totals
}

// totals are guarded by their server's lock.
type totals struct {
	byKey   map[totalKey]*total
	scratch record
}

// idleLooks is after how many looks without a change a total is let go: an hour.
const idleLooks = int(Window / sweepEvery)

// of returns the total that a line counts in; nil for lines that have none.
func (t *totals) of(d def) *total {
	k := totalKey{family: d.family, source: d.source, destination: d.destination}
	switch d.family {
	case familyCall, familyServed, familyCount, familyLoad:
	case familyAttempt:
		if k.security = d.security; k.security == securityNone {
			k.security = securityUnknown
		}
	default:
		return nil
	}
	return t.get(k)
}

func (t *totals) get(k totalKey) *total {
	if one := t.byKey[k]; one != nil {
		return one
	}
	if len(t.byKey) >= maxTotals {
		k.source, k.destination = Other, Other
		if one := t.byKey[k]; one != nil {
			return one
		}
	}
	one := &total{key: k, in: t}
	t.byKey[k] = one
	return one
}

// add counts a record whose values are so many seconds together.
func (one *total) add(r *record, seconds float64) {
	if one.gone {
		one.in.get(one.key).add(r, seconds)
		return
	}
	one.used = true
	sum := &one.in.scratch
	one.decode(sum)
	sum.add(r)
	one.encoded = sum.append(one.encoded[:0])
	one.seconds += seconds
}

// decode reads what was counted into a record.
func (one *total) decode(into *record) {
	into.reset()
	if len(one.encoded) > 0 {
		into.decode(one.encoded)
	}
}

// sweep lets go of what nobody calls any more.
func (t *totals) sweep() {
	for k, one := range t.byKey {
		if one.used {
			one.used, one.idle = false, 0
		} else if one.idle++; one.idle > idleLooks {
			delete(t.byKey, k)
			*one = total{key: k, in: t, gone: true}
		}
	}
}
