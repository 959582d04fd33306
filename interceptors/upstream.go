package interceptors

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tulle-mesh/tulle/interceptors/rate"
	"github.com/tulle-mesh/tulle/interceptors/retry"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

const (
	// maxUpstreams bounds the services that are told apart. Services come from the
	// targets that the application dials; one that makes up more than that shares
	// budgets and limits among those that come later.
	maxUpstreams = 4096
	// maxVariants bounds the windows and the rates that one service has had. The one
	// that came first goes first: configurations change, routes differ a little.
	maxVariants = 16
)

// upstreams are the services that a process calls.
type upstreams struct {
	known atomic.Pointer[map[string]*upstream] // the map is immutable
	mu    sync.Mutex                           // guards changes of known
}

// An upstream is a dialled service, with what is counted of all calls to it,
// whichever connection and configuration they are made by.
type upstream struct {
	service  string
	budgets  variants[time.Duration, retry.Budget]
	limiters variants[resource.Rate, rate.Limiter]

	calls, retries, hedges, denied atomic.Uint64
	refused                        [call.Reasons]atomic.Uint64
	opened                         atomic.Uint64 // of its breakers
}

// refuse counts a call that the mesh ended.
func (u *upstream) refuse(why call.Reason) {
	if i := why.Index(); i >= 0 {
		u.refused[i].Add(1)
	}
}

// of returns the upstream of a service.
func (u *upstreams) of(service string) *upstream {
	if known := u.known.Load(); known != nil {
		if up := (*known)[service]; up != nil {
			return up
		}
	}
	return u.add(service)
}

func (u *upstreams) add(service string) *upstream {
	u.mu.Lock()
	defer u.mu.Unlock()
	next := map[string]*upstream{}
	if known := u.known.Load(); known != nil {
		if up := (*known)[service]; up != nil {
			return up // another call was quicker
		}
		if len(*known) >= maxUpstreams {
			service = "" // which is nobody's name
			if up := (*known)[service]; up != nil {
				return up
			}
		}
		next = maps.Clone(*known)
	}
	up := &upstream{service: service}
	next[service] = up
	u.known.Store(&next)
	return up
}

// budget returns the retry budget whose window is as long. Routes that differ in that
// have budgets of their own.
func (u *upstream) budget(window time.Duration, now time.Time) *retry.Budget {
	if b := u.budgets.find(window); b != nil {
		return b
	}
	return u.budgets.add(window, func() *retry.Budget { return retry.NewBudget(window, now) })
}

// limiter returns the limiter of a rate, which all routes of that rate share: it is
// mostly the service's.
func (u *upstream) limiter(r resource.Rate, now time.Time) *rate.Limiter {
	if l := u.limiters.find(r); l != nil {
		return l
	}
	return u.limiters.add(r, func() *rate.Limiter { return rate.New(r, now) })
}

// variants are a few things told apart by their settings, so that they live on across
// configurations that say the same of them.
type variants[K comparable, V any] struct {
	known atomic.Pointer[[]variant[K, V]] // the slice is immutable
	mu    sync.Mutex                      // guards changes of known
}

type variant[K comparable, V any] struct {
	key   K
	value *V
}

func (v *variants[K, V]) find(key K) *V {
	known := v.known.Load()
	if known == nil {
		return nil
	}
	for i := range *known {
		if (*known)[i].key == key {
			return (*known)[i].value
		}
	}
	return nil
}

func (v *variants[K, V]) add(key K, build func() *V) *V {
	v.mu.Lock()
	defer v.mu.Unlock()
	if value := v.find(key); value != nil {
		return value
	}
	var next []variant[K, V]
	if known := v.known.Load(); known != nil {
		next = slices.Clone((*known)[max(0, len(*known)+1-maxVariants):])
	}
	next = append(next, variant[K, V]{key, build()})
	v.known.Store(&next)
	return next[len(next)-1].value
}

// Stats are what the calls to one service came to, since the process began.
type Stats struct {
	// Service is the dialled one, empty for all those beyond the first few thousand.
	Service string
	// Calls are those that were made: neither refused before nor ended by a fault.
	// Attempts are all of theirs, of which Retries came after a failure and Hedges
	// beside an attempt that was slow.
	Calls, Attempts, Retries, Hedges uint64
	// Denied are the retries and hedges for which the retry budget had nothing left.
	Denied uint64
	// Openings are how often the breaker of the service as a whole opened that was closed.
	Openings uint64
	// Refused are the calls that the mesh of this process ended, by the reason.
	Refused map[call.Reason]uint64
}

// Stats returns the counts of all services, in the order of their names.
func (c *Client) Stats() []Stats {
	known := c.upstreams.known.Load()
	if known == nil {
		return nil
	}
	all := make([]Stats, 0, len(*known))
	for _, up := range *known {
		s := Stats{
			Service: up.service,
			Calls:   up.calls.Load(),
			Retries: up.retries.Load(),
			Hedges:  up.hedges.Load(),
			Denied:  up.denied.Load(),

			Openings: up.opened.Load(),
		}
		for i := range up.refused {
			if n := up.refused[i].Load(); n > 0 {
				if s.Refused == nil {
					s.Refused = map[call.Reason]uint64{}
				}
				s.Refused[call.ReasonAt(i)] = n
			}
		}
		s.Attempts = s.Calls + s.Retries + s.Hedges
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Stats) int { return cmp.Compare(a.Service, b.Service) })
	return all
}
