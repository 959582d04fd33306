package telemetry

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
)

const (
	// maxSeries bounds the series of a family; a few more are for what is Other.
	maxSeries = 4096
	maxOther  = 64
	// idleAfter is how long a series stays in which nothing is counted.
	idleAfter = 10 * time.Minute
	// numCodes are the codes of gRPC, numbered from zero; another counts as UNKNOWN.
	numCodes = 17
)

// A Series counts calls that are alike, each by the code that it ended with. It is safe
// for concurrent use.
type Series struct {
	began time.Time
	codes [numCodes]atomic.Pointer[histogram]

	// Of the sweep: what was counted when it last looked, and when that last changed.
	seen  uint64
	moved time.Time
}

// Record counts a call that ended by a code. It locks nothing, and allocates only the
// first time for a code, and for a latency twice as long or half as long as any before.
func (s *Series) Record(code codes.Code, took time.Duration) {
	if code >= numCodes {
		code = codes.Unknown
	}
	h := s.codes[code].Load()
	if h == nil {
		h = new(histogram)
		if !s.codes[code].CompareAndSwap(nil, h) {
			h = s.codes[code].Load()
		}
	}
	h.record(took)
}

// count is how many calls were counted.
func (s *Series) count() (n uint64) {
	for i := range s.codes {
		h := s.codes[i].Load()
		if h == nil {
			continue
		}
		n += h.below.Load()
		for j := range h.octaves {
			if o := h.octaves[j].Load(); o != nil {
				for k := range o {
					n += o[k].Load()
				}
			}
		}
	}
	return n
}

// A family is the series of one metric.
type family[K comparable] struct {
	name string
	// other is the key for a key that there is no room for, last the one for what there
	// is no room for even so.
	other      func(K) K
	last       K
	attributes func(K) []Attribute

	// known is replaced, never changed, so that calls read it without a lock.
	known atomic.Pointer[map[K]*Series]

	mu sync.Mutex // serializes replacements
	// leaving are series that were taken out when they were idle, since the sweep before:
	// a call may have found one just then, and its count is told once more.
	leaving map[K]*Series
}

func (f *family[K]) of(k K) *Series {
	if known := f.known.Load(); known != nil {
		if s := (*known)[k]; s != nil {
			return s
		}
	}
	return f.add(k)
}

// add returns the series of a key that had none a moment ago.
func (f *family[K]) add(k K) *Series {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := map[K]*Series{}
	if all := f.known.Load(); all != nil {
		known = *all
	}
	for room, key := range []K{k, f.other(k), f.last} {
		if s := known[key]; s != nil {
			return s
		}
		if room < 2 && len(known) >= maxSeries+room*maxOther {
			continue
		}
		next := maps.Clone(known)
		s := f.leaving[key] // it comes back with what it has counted
		if s == nil {
			now := time.Now()
			s = &Series{began: now, moved: now}
		}
		delete(f.leaving, key)
		next[key] = s
		f.known.Store(&next)
		return s
	}
	return nil // never: the last key always finds room
}

// points appends what the series counted, those that are leaving too.
func (f *family[K]) points(points []Point) []Point {
	f.mu.Lock()
	all := map[K]*Series{}
	if known := f.known.Load(); known != nil {
		all = *known
	}
	if len(f.leaving) > 0 {
		all = maps.Clone(all)
		maps.Copy(all, f.leaving)
	}
	f.mu.Unlock()
	for k, s := range all {
		var attributes []Attribute
		for code := range s.codes {
			h := s.codes[code].Load()
			if h == nil {
				continue
			}
			if attributes == nil {
				attributes = f.attributes(k)
			}
			p := Point{Name: f.name, Attributes: attributes, Code: codes.Code(code), Began: s.began, series: s}
			if h.point(&p); p.Count > 0 {
				points = append(points, p)
			}
		}
	}
	return points
}

// sweep takes out the series that have been idle. They are told of until the next sweep.
func (f *family[K]) sweep(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.known.Load()
	if known == nil {
		return
	}
	idle := map[K]*Series{}
	for k, s := range *known {
		if n := s.count(); n != s.seen {
			s.seen, s.moved = n, now
		} else if now.Sub(s.moved) >= idleAfter {
			idle[k] = s
		}
	}
	f.leaving = idle
	if len(idle) == 0 {
		return
	}
	next := make(map[K]*Series, len(*known)-len(idle))
	for k, s := range *known {
		if idle[k] == nil {
			next[k] = s
		}
	}
	f.known.Store(&next)
}
