package registry

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// table is what is registered. It belongs to who holds the Registry's lock.
type table struct {
	lease                          time.Duration
	maxEndpoints, maxPerConnection int

	byKey map[key]*entry
	// byAddress finds who holds an address of a service: two endpoints with one
	// address would make clients refuse the whole service.
	byAddress map[address]*entry
	order     []*entry    // by key
	perConn   map[any]int // sessions of each connection
	change    uint64      // grows with each change
}

type key struct {
	service  model.ServiceName
	instance string
}

type address struct {
	service  model.ServiceName
	hostPort string
}

// An entry is one registered endpoint.
type entry struct {
	// endpoint is as it registered: Healthy or NotServing.
	endpoint model.Endpoint
	// session holds the endpoint; nil while its lease runs.
	session *session
	leaving bool
	// While session is nil: since when, when that is shown, and when it ends.
	lostAt, showAt, endsAt time.Time
}

// A session is one stream that holds an endpoint.
type session struct {
	conn  any           // the connection it came over
	own   string        // the service it is of, where processes have identities
	entry *entry        // nil until opened
	over  chan struct{} // closed when another stream took the endpoint
}

func newTable(c Config) table {
	return table{
		lease:            c.Lease,
		maxEndpoints:     c.MaxEndpoints,
		maxPerConnection: c.MaxPerConnection,
		byKey:            make(map[key]*entry),
		byAddress:        make(map[address]*entry),
		perConn:          make(map[any]int),
	}
}

// open gives the endpoint to the session.
//
// An instance id that a live stream holds is taken over from the same addresses
// only: that is the same process, back before the server noticed that it had
// gone. Anybody else is refused, lest two processes take it from each other for
// ever.
func (t *table) open(s *session, e model.Endpoint, now time.Time) error {
	if t.perConn[s.conn] >= t.maxPerConnection {
		return status.Errorf(codes.ResourceExhausted,
			"registry: the connection holds %d endpoints already: register the others over another", t.maxPerConnection)
	}
	held := t.byKey[key{e.Service, e.Instance}]
	if held != nil && held.session != nil && !slices.Equal(held.endpoint.Addresses, e.Addresses) {
		return status.Errorf(codes.AlreadyExists,
			"registry: instance %q of %s is registered from %s: give each process an instance id of its own", e.Instance, e.Service, held.endpoint.Addresses[0])
	}
	if err := t.claim(held, e); err != nil {
		return err
	}
	if held == nil {
		if len(t.byKey) >= t.maxEndpoints {
			return status.Errorf(codes.ResourceExhausted,
				"registry: %d endpoints are registered, the most this xdsserver takes: raise its limit, or run another", t.maxEndpoints)
		}
		held = t.add(e, now)
	}
	if held.session != nil {
		t.drop(held.session)
		close(held.session.over)
	}
	s.entry = held
	held.session = s
	held.leaving = false
	t.perConn[s.conn]++
	t.set(held, e, now)
	return nil
}

// update replaces what the session's endpoint says of itself.
func (t *table) update(s *session, e model.Endpoint, now time.Time) error {
	if err := t.claim(s.entry, e); err != nil {
		return err
	}
	t.set(s.entry, e, now)
	return nil
}

// leave takes the session's endpoint from clients; it stays until the session ends.
func (t *table) leave(s *session, now time.Time) {
	s.entry.leaving = true
	s.entry.endpoint.Since = now
	t.change++
}

// end lets go of what the session holds: an endpoint that said it leaves is gone,
// another keeps its lease.
func (t *table) end(s *session, now time.Time) {
	e := s.entry
	if e == nil || e.session != s {
		return
	}
	t.drop(s)
	e.session = nil
	if e.leaving {
		t.remove(e)
		return
	}
	// Most come back at once. Showing them as lost meanwhile would be news to
	// nobody and an output to everybody, so it waits for half the lease.
	e.lostAt, e.showAt, e.endsAt = now, now.Add(t.lease/2), now.Add(t.lease)
	t.change++
}

// restore adds an endpoint known from before a restart, unless it is back already.
func (t *table) restore(e model.Endpoint, lease time.Duration, now time.Time) {
	if t.byKey[key{e.Service, e.Instance}] != nil || len(t.byKey) >= t.maxEndpoints {
		return
	}
	for _, a := range e.Addresses {
		if t.byAddress[address{e.Service, a}] != nil {
			return
		}
	}
	added := t.add(e, e.Since)
	t.index(added)
	added.lostAt, added.showAt, added.endsAt = now, now, now.Add(lease)
}

// expire removes endpoints whose lease has ended and returns them.
func (t *table) expire(now time.Time) []model.Endpoint {
	var expired []model.Endpoint
	t.order = slices.DeleteFunc(t.order, func(e *entry) bool {
		if e.session != nil || now.Before(e.endsAt) {
			return false
		}
		expired = append(expired, e.endpoint)
		t.forget(e)
		return true
	})
	return expired
}

// next returns when the table changes by time alone; zero means never.
func (t *table) next(now time.Time) time.Time {
	var next time.Time
	for _, e := range t.order {
		if e.session != nil {
			continue
		}
		at := e.endsAt
		if now.Before(e.showAt) {
			at = e.showAt
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// endpoints returns all endpoints with their health, in order.
func (t *table) endpoints(now time.Time) []model.Endpoint {
	out := make([]model.Endpoint, len(t.order))
	for i, e := range t.order {
		out[i] = e.endpoint
		switch {
		case e.leaving:
			out[i].Health = model.Leaving
		case e.session != nil || now.Before(e.showAt) || e.endpoint.Health == model.NotServing:
			// One that takes no calls takes none either when its stream breaks.
		default:
			out[i].Health, out[i].Since = model.Lost, e.lostAt
		}
	}
	return out
}

// remembered returns what is worth saving, in order: not whose stream is broken,
// which flaps, and not who leaves.
func (t *table) remembered() []model.Endpoint {
	out := make([]model.Endpoint, 0, len(t.order))
	for _, e := range t.order {
		if !e.leaving {
			out = append(out, e.endpoint)
		}
	}
	return out
}

// claim makes the addresses of e free for the entry that shall have them: a new
// process at the address of a lost or leaving one replaces it.
func (t *table) claim(holder *entry, e model.Endpoint) error {
	var replaced []*entry
	for _, a := range e.Addresses {
		other := t.byAddress[address{e.Service, a}]
		if other == nil || other == holder {
			continue
		}
		if other.session != nil && !other.leaving {
			return status.Errorf(codes.AlreadyExists,
				"registry: address %s of %s is registered by instance %q: give each process an address of its own", a, e.Service, other.endpoint.Instance)
		}
		replaced = append(replaced, other)
	}
	for _, other := range replaced {
		t.remove(other)
	}
	return nil
}

// set makes e what the entry's endpoint says of itself.
func (t *table) set(held *entry, e model.Endpoint, now time.Time) {
	e.Since = held.endpoint.Since
	if e.Health != held.endpoint.Health {
		e.Since = now
	}
	t.unindex(held)
	held.endpoint = e
	t.index(held)
	t.change++
}

func (t *table) add(e model.Endpoint, since time.Time) *entry {
	e.Since = since
	added := &entry{endpoint: e}
	t.byKey[key{e.Service, e.Instance}] = added
	at, _ := slices.BinarySearchFunc(t.order, added, compare)
	t.order = slices.Insert(t.order, at, added)
	t.change++
	return added
}

func (t *table) remove(e *entry) {
	at, found := slices.BinarySearchFunc(t.order, e, compare)
	if !found || t.order[at] != e {
		return // removed already, at another of its addresses
	}
	t.order = slices.Delete(t.order, at, at+1)
	t.forget(e)
}

// forget is remove without the order.
func (t *table) forget(e *entry) {
	delete(t.byKey, key{e.endpoint.Service, e.endpoint.Instance})
	t.unindex(e)
	if e.session != nil {
		t.drop(e.session)
		e.session = nil
	}
	t.change++
}

func (t *table) index(e *entry) {
	for _, a := range e.endpoint.Addresses {
		t.byAddress[address{e.endpoint.Service, a}] = e
	}
}

func (t *table) unindex(e *entry) {
	for _, a := range e.endpoint.Addresses {
		if at := (address{e.endpoint.Service, a}); t.byAddress[at] == e {
			delete(t.byAddress, at)
		}
	}
}

// drop takes the session off its connection's count.
func (t *table) drop(s *session) {
	if t.perConn[s.conn]--; t.perConn[s.conn] <= 0 {
		delete(t.perConn, s.conn)
	}
}

func compare(a, b *entry) int {
	return cmp.Or(a.endpoint.Service.Compare(b.endpoint.Service), cmp.Compare(a.endpoint.Instance, b.endpoint.Instance))
}
