package serve

import (
	"math/rand/v2"
	"time"
)

// An action is what is to be said of one name.
type action uint8

const (
	keep   action = iota // nothing
	update               // its current content
	remove               // that it is gone
	later                // that it is gone, once nothing refers to it
	freeze               // nothing, until the warm-up ends
)

// A pass is one comparison of what a stream has with what there is.
type pass struct {
	st       *stream
	warm     bool
	revision uint64
	since    uint64
	now      time.Time
	// quiet says that the client has no configuration outstanding that may still
	// lead calls to clusters that are gone.
	quiet bool
	// standing says, where it was asked, whether the client goes on with a
	// configuration that it has for want of one it would take.
	standing *bool
	// deferred is the set of kinds in which a removal waits for that.
	deferred uint32
	queue    []*response
}

// plan compares the kinds that are marked and appends the responses that are due
// to the queue. The marks of kinds with more to say stay.
func (st *stream) plan(queue []*response) []*response {
	s := st.server
	s.mu.RLock()
	defer s.mu.RUnlock()
	bits := st.dirty.Load()
	bits = bits>>fresh | bits&(1<<fresh-1)
	if s.snapshot == nil || bits == 0 {
		return queue
	}
	st.mu.Lock()
	defer st.mu.Unlock()

	p := pass{
		st: st, warm: s.warm, revision: s.revision, since: st.since.Load(),
		now: time.Now(), quiet: st.quiet(bits), queue: queue,
	}
	left := p.round(bits)
	if p.deferred != 0 && st.quiet(left) {
		// What they waited for turned out to be nothing.
		p.quiet = true
		left = left&^p.deferred | p.round(p.deferred)
	}
	st.dirty.Store(left)
	if left&configuration == 0 {
		st.since.Store(0)
		s.waiters.wake()
	}
	return p.queue
}

// quiet reports whether no change of a listener or a route is due or unanswered.
func (st *stream) quiet(due uint32) bool {
	return due&above == 0 && !st.subs[listeners].inflight && !st.subs[routes].inflight
}

// round compares kinds in order and returns those with more to say.
func (p *pass) round(bits uint32) (left uint32) {
	held := false
	for k := range kinds {
		if bits&k.bit() == 0 {
			continue
		}
		sn := &p.st.subs[k]
		switch {
		case sn.inflight:
			// Envoy answers for clusters only when it has their endpoints, so
			// these are never held up; what leads calls to new clusters is.
			left |= k.bit()
			held = held || k == clusters
			continue
		case held && above&k.bit() != 0:
			left |= k.bit()
			continue
		}
		p.st.widen(k)
		var r *response
		var more bool
		if p.st.delta || !k.full() {
			r, more = p.parts(k)
		} else {
			r, more = p.whole(k)
		}
		if more {
			left |= k.bit()
		}
		sn.narrow()
		if r != nil {
			p.enqueue(k, r)
		}
	}
	return left
}

// want says what is to be said of a name.
func (p *pass) want(k kind, sub *subscribed) action {
	current := sub.topic.current
	switch {
	case current == nil && sub.told && sub.sent == nil:
		return keep
	case current == nil && p.warm && k.bit()&configuration != 0:
		if sub.told || sub.held {
			return freeze
		}
		return keep // unanswered: the warm-up's end marks everything
	case current == nil && sub.told && above&k.bit() == 0 && p.stands():
		return keep // accept looks again
	case current == nil && sub.told && !p.quiet && above&k.bit() == 0:
		return later
	case current == nil:
		return remove
	case sub.refused(current):
		return keep
	case sub.told && sub.sent != nil && sub.sent.version == current.version:
		if sub.nack != nil {
			p.st.server.rejections.resolve(sub.nack) // taken back
		}
		return keep
	case p.warm && sub.held && k == endpoints:
		return freeze
	default:
		return update
	}
}

// stands reports whether the client goes on with a listener or a route whose successor
// it refused. It may lead calls to clusters that are gone otherwise.
func (p *pass) stands() bool {
	if p.standing == nil {
		p.standing = new(p.st.stands())
	}
	return *p.standing
}

func (st *stream) stands() bool {
	for _, k := range []kind{listeners, routes} {
		for i := range st.subs[k].names {
			sub := &st.subs[k].names[i]
			if e := sub.topic.current; e != nil && sub.refused(e) && (sub.sent != nil || sub.held) {
				return true
			}
		}
	}
	return false
}

// refused reports whether the client has rejected this content.
func (sub *subscribed) refused(e *entry) bool {
	return sub.nack != nil && sub.nack.entry.version == e.version
}

// parts makes a response of the names that changed.
func (p *pass) parts(k kind) (r *response, more bool) {
	sn, delta := &p.st.subs[k], p.st.delta
	for i := range sn.names {
		sub := &sn.names[i]
		act := p.want(k, sub)
		switch act {
		case keep:
			continue
		case freeze:
			more = true
			continue
		case later:
			if delta {
				more = true
				p.deferred |= k.bit()
			}
			continue
		case remove:
			if !delta {
				continue // there is no way to say it; the client keeps it
			}
		case update:
		}
		if r == nil {
			r = newResponse(1)
		} else if r.size >= maxResponse {
			return r, true
		}
		if act == update {
			r.add(sub.topic.current, delta)
		} else {
			r.remove(sub.topic.name)
		}
		p.tell(sub, act)
	}
	if r == nil && p.owesEmpty(sn) {
		r = newResponse(0)
	}
	return r, more
}

// owesEmpty reports whether the client waits to hear that there is nothing: who
// asks for everything has no name to be answered for.
func (p *pass) owesEmpty(sn *subscription) bool { return sn.wild && sn.nonce == 0 && !p.warm }

// whole makes a response of the whole subscription, if anything in it changed:
// in such a response, what is missing is gone.
func (p *pass) whole(k kind) (r *response, more bool) {
	sn := &p.st.subs[k]
	changed, unknown := false, false
	for i := range sn.names {
		switch p.want(k, &sn.names[i]) {
		case update, remove:
			changed = true
		case later:
			more = true
			p.deferred |= k.bit()
		case freeze:
			more = true
			// The client has it from an earlier stream, but we do not: any
			// response without it would take it away.
			unknown = unknown || sn.names[i].sent == nil
		case keep:
		}
	}
	if unknown || !changed && !p.owesEmpty(sn) {
		return nil, more || changed
	}
	r = newResponse(len(sn.names))
	for i := range sn.names {
		sub := &sn.names[i]
		switch act := p.want(k, sub); act {
		case update:
			r.add(sub.topic.current, false)
			p.tell(sub, act)
		case remove:
			p.tell(sub, act)
		default:
			if e := sub.standing(); e != nil {
				r.add(e, false)
				sub.response = p.st.responses + 1
			}
		}
	}
	return r, more
}

// standing is what a name that does not change stands for in a full response:
// what the client has. That may be something from an earlier stream which we do
// not have; when its successor was refused, the refused one takes its place,
// since it does no harm and nothing would delete it.
func (sub *subscribed) standing() *entry {
	if sub.sent == nil && sub.held && sub.nack != nil {
		return sub.topic.current
	}
	return sub.sent
}

// tell notes that the next response speaks of a name.
func (p *pass) tell(sub *subscribed, act action) {
	sub.told = true
	sub.at = p.now.UnixNano()
	sub.response = p.st.responses + 1
	if act == remove {
		sub.sent, sub.acked, sub.held = nil, nil, false
		return
	}
	sub.sent = sub.topic.current
}

// enqueue completes a response and notes that it is on its way.
func (p *pass) enqueue(k kind, r *response) {
	st := p.st
	st.responses++
	// Only who has read a response can name it: a client that answered without
	// reading would let the unread pile up until a send blocks for good.
	nonce := uint64(st.responses)<<32 | uint64(rand.Uint32())
	r.seal(k, nonce, st.delta, p.revision)
	unanswered := 0
	for i := range st.subs {
		unanswered += st.subs[i].bytes
	}
	if unanswered == 0 {
		st.heard = p.now
	}
	r.mayBlock = unanswered >= freeQuota
	sn := &st.subs[k]
	sn.nonce, sn.inflight, sn.from, sn.bytes = nonce, true, p.since, r.size
	p.queue = append(p.queue, r)
}
