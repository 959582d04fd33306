package limit

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/tulle-mesh/tulle/interceptors/rate"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// MaxKeys bounds what one limit counts apart. Fewer would lump callers together who
// have nothing to do with each other; more costs a hundred bytes each.
const MaxKeys = 10_000

const (
	// shards is how many locks the keys of a limit have.
	shards = 16
	// looked is how many keys are looked at for one that can be forgotten.
	looked = 16
)

// keys are the limiters of one limit by what it counts apart, which callers choose.
//
// When there are too many, one is forgotten that has its whole burst again: a new
// limiter would be the same. Where there is none, keys that are not known share one
// limiter. Forgetting the least recently used instead would be forgiving it: who makes
// up keys faster than they come to rest would take the place of those who do not, and
// go without a limit. So the worst that made-up keys do is to leave new ones the rate
// of one.
//
// Keys are kept as their hashes, under a seed that nobody knows: their length costs no
// memory, and two with one hash do not come by.
type keys struct {
	rate  resource.Rate
	most  int // in each shard
	seed  maphash.Seed
	other *rate.Limiter
	shard [shards]shard
}

type shard struct {
	mu    sync.Mutex // held for a look-up
	known map[uint64]*rate.Limiter
	_     [48]byte // a cache line of its own
}

func newKeys(r resource.Rate, most int, now time.Time) *keys {
	return &keys{rate: r, most: max(1, most/shards), seed: maphash.MakeSeed(), other: rate.New(r, now)}
}

// get returns what calls of the key are counted by.
func (k *keys) get(key string, now time.Time) *rate.Limiter {
	hash := maphash.String(k.seed, key)
	s := &k.shard[hash%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.known[hash]; ok {
		return l
	}
	if len(s.known) >= k.most && !s.forget(now) {
		return k.other
	}
	l := rate.New(k.rate, now)
	if s.known == nil {
		s.known = map[uint64]*rate.Limiter{}
	}
	s.known[hash] = l
	return l
}

// forget forgets idle keys among some, which a map draws at random, and reports
// whether there was one. A limiter that a call holds just then is idle no more, and
// lets one call more through. Caller holds mu.
func (s *shard) forget(now time.Time) bool {
	n, before := 0, len(s.known)
	for hash, l := range s.known {
		if l.Idle(now) {
			delete(s.known, hash)
		}
		if n++; n >= looked {
			break
		}
	}
	return len(s.known) < before
}

// len returns how many keys are known.
func (k *keys) len() int {
	n := 0
	for i := range k.shard {
		s := &k.shard[i]
		s.mu.Lock()
		n += len(s.known)
		s.mu.Unlock()
	}
	return n
}
