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
	// sweepEvery is how often idle series are looked for.
	sweepEvery = time.Minute
	// numCodes are the codes of gRPC, numbered from zero; another counts as UNKNOWN.
	numCodes = 17
)

// A Series counts calls that are alike, each by the code that it ended with. It is safe
// for concurrent use.
type Series struct {
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
		// It begins now and not with the series: so who has seen nothing of it knows
		// that nothing was there before.
		h = &histogram{began: time.Now()}
		if !s.codes[code].CompareAndSwap(nil, h) {
			h = s.codes[code].Load()
		}
	}
	h.record(took)
}

// count is how many calls were counted, and told whether xdsserver knows of all.
func (s *Series) count() (n uint64, told bool) {
	told = true
	for i := range s.codes {
		if h := s.codes[i].Load(); h != nil {
			c := h.count()
			n, told = n+c, told && c == h.told.Load()
		}
	}
	return n, told
}

// A family is the series of one metric.
type family[K comparable] struct {
	name string
	// other is the key for a key that there is no room for, last the one for what there
	// is no room for even so.
	other func(K) K
	last  K
	// grpc is the key without what gRFC A66 does not tell apart.
	grpc       func(K) K
	attributes func(K) []Attribute

	// known is replaced, never changed, so that calls read it without a lock.
	known atomic.Pointer[map[K]*Series]

	mu sync.Mutex // guards what follows, and serializes replacements
	// fresh are series that are not in known yet, asked how often calls came for one: to
	// copy all for each would cost the square of their number.
	fresh map[K]*Series
	asked int
	// leaving are series that were taken out when they were idle, since the sweep before:
	// a call may have found one just then, and its count is told once more.
	leaving map[K]*Series
	// past is what series have counted that are gone, by grpc's keys and by code, while
	// others with the same key are there.
	past map[K]*[numCodes]Point
}

func (f *family[K]) of(k K) *Series {
	if known := f.known.Load(); known != nil {
		if s := (*known)[k]; s != nil {
			return s
		}
		if len(*known) >= maxSeries {
			if s := (*known)[f.other(k)]; s != nil {
				return s
			}
		}
	}
	return f.add(k)
}

// add returns the series of a key that calls cannot find without a lock.
func (f *family[K]) add(k K) *Series {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.all()
	n := len(known) + len(f.fresh)
	for room, key := range []K{k, f.other(k), f.last} {
		if s := known[key]; s != nil {
			return s
		}
		s := f.fresh[key]
		if s == nil && room < 2 && n >= maxSeries+room*maxOther {
			continue
		}
		if s == nil {
			if s = f.leaving[key]; s == nil { // else it comes back with what it has counted
				s = &Series{moved: time.Now()}
			}
			delete(f.leaving, key)
			if f.fresh == nil {
				f.fresh = map[K]*Series{}
			}
			f.fresh[key] = s
		}
		if f.asked++; 8*f.asked >= len(known) || n >= maxSeries {
			f.publish()
		}
		return s
	}
	return nil // never: the last key always finds room
}

// all returns what is known, which must not be changed. Caller holds mu.
func (f *family[K]) all() map[K]*Series {
	if known := f.known.Load(); known != nil {
		return *known
	}
	return nil
}

// publish makes fresh series known. Caller holds mu.
func (f *family[K]) publish() map[K]*Series {
	known := f.all()
	f.asked = 0
	if len(f.fresh) == 0 {
		return known
	}
	next := make(map[K]*Series, len(known)+len(f.fresh))
	maps.Copy(next, known)
	maps.Copy(next, f.fresh)
	f.fresh = nil
	f.known.Store(&next)
	return next
}

// points adds what the series counted, those that are leaving too.
func (f *family[K]) points(to *Snapshot) {
	f.mu.Lock()
	all := f.publish()
	if len(f.leaving) > 0 {
		all = maps.Clone(all)
		maps.Copy(all, f.leaving)
	}
	for _, codes := range f.past {
		for i := range codes {
			if codes[i].Count > 0 {
				to.past = append(to.past, codes[i])
			}
		}
	}
	f.mu.Unlock()
	for k, s := range all {
		s.points(f.name, func() []Attribute { return f.attributes(k) }, func(p Point) {
			to.Points = append(to.Points, p)
		})
	}
}

// points yields what a series has counted.
func (s *Series) points(name string, attributes func() []Attribute, yield func(Point)) {
	var all []Attribute
	for code := range s.codes {
		h := s.codes[code].Load()
		if h == nil {
			continue
		}
		if all == nil {
			all = valid(attributes())
		}
		p := Point{Name: name, Attributes: all, Code: codes.Code(code), Began: h.began, histogram: h}
		if h.point(&p); p.Count > 0 {
			yield(p)
		}
	}
}

// sweep takes out the series that have been idle. They are told of until the next sweep.
// Where reports are made, none leaves before all it counted is told.
func (f *family[K]) sweep(now time.Time, reporting bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.publish()
	leaving, idle := map[K]*Series{}, 0
	for k, s := range f.leaving {
		if _, told := s.count(); reporting && !told {
			leaving[k] = s
		} else {
			f.gone(k, s)
		}
	}
	for k, s := range known {
		n, told := s.count()
		switch {
		case n != s.seen:
			s.seen, s.moved = n, now
		case now.Sub(s.moved) >= idleAfter && (told || !reporting):
			leaving[k] = s
			idle++
		}
	}
	f.leaving = leaving
	if idle > 0 {
		next := make(map[K]*Series, len(known)-idle)
		for k, s := range known {
			if leaving[k] == nil {
				next[k] = s
			}
		}
		f.known.Store(&next)
	}
	f.forget()
}

// gone keeps what a series has counted. Caller holds mu.
func (f *family[K]) gone(k K, s *Series) {
	k = f.grpc(k)
	past := f.past[k]
	if past == nil {
		past = new([numCodes]Point)
		if f.past == nil {
			f.past = map[K]*[numCodes]Point{}
		}
		f.past[k] = past
	}
	s.points(f.name, func() []Attribute { return f.attributes(k) }, func(p Point) {
		sum := &past[p.Code]
		if sum.Merge(&p); sum.Name == "" {
			sum.Name, sum.Attributes, sum.Code = p.Name, p.Attributes, p.Code
		}
	})
}

// forget drops what is past where no series has its key. Caller holds mu.
func (f *family[K]) forget() {
	if len(f.past) == 0 {
		return
	}
	there := make(map[K]bool, len(f.past))
	for k := range f.all() {
		there[f.grpc(k)] = true
	}
	for k := range f.leaving {
		there[f.grpc(k)] = true
	}
	for k := range f.past {
		if !there[k] {
			delete(f.past, k)
		}
	}
}
