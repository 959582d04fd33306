package xdsclient

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// A resource is what the client knows of one (type, name) somebody is
// interested in.
type resource struct {
	// Immutable.
	typ  int // index in Client.types
	name string

	state atomic.Pointer[State]

	// Guarded by Client.mu.
	subs []*Subscription
	// good is the last good value, nil if there is none. Until it is used it is
	// only remembered, from the disk or from an earlier interest, and not in
	// the State.
	good *good
	used bool
	// asked is since when an answer is waited for.
	asked time.Time
	// refused is the refusal already logged.
	refused string

	// Of the stream that is open, guarded by Client.mu: whether the name was
	// subscribed on it, whether a version was offered when it was, whether the
	// server has said anything about it since.
	sent, offered, answered bool
}

// A good is a value with the bytes it was made of. It is immutable.
type good struct {
	value   any
	version string
	bytes   []byte
}

// effects are what has to be done once Client.mu is free.
type effects struct {
	notify []*Subscription
	log    []func(*slog.Logger)
}

func (e *effects) run(logger *slog.Logger) {
	for _, write := range e.log {
		write(logger)
	}
	for _, s := range e.notify {
		if s.notify != nil && !s.closed.Load() {
			s.notify()
		}
	}
}

// decode makes a value of a resource's bytes. A decoder's panic is an error
// like any other: bytes from outside must not end the process.
func decode(t Type, name string, b []byte) (v any, err error) {
	defer func() {
		if p := recover(); p != nil {
			v, err = nil, fmt.Errorf("its decoder panicked: %v", p)
		}
	}()
	inner, v, err := t.Decode(b)
	switch {
	case err != nil:
		return nil, err
	case inner != name:
		return nil, fmt.Errorf("its content is named %q", inner)
	case v == nil:
		return nil, errors.New("its decoder made nothing of it")
	}
	return v, nil
}

// publish makes st the state of r and notes whom to tell, unless nothing but
// the version differs. c.mu is held.
func (c *Client) publish(r *resource, st State, sameValue bool, after *effects) {
	old := r.state.Load()
	if sameValue && st.Known == old.Known && st.Stale == old.Stale && sameError(st.Err, old.Err) && sameError(st.Ambient, old.Ambient) {
		if st.Version != old.Version {
			r.state.Store(&st)
		}
		return
	}
	if st.Stale != old.Stale {
		if st.Stale {
			c.stale++
		} else {
			c.stale--
		}
	}
	r.state.Store(&st)
	after.notify = append(after.notify, r.subs...)
}

// sameError compares what errors say: each response makes new ones.
func sameError(a, b error) bool {
	if a == nil || b == nil {
		return a == b //nolint:errorlint // both or none is nil
	}
	return a.Error() == b.Error()
}

// accept makes g the good value of r: the server sent it. c.mu is held.
func (c *Client) accept(r *resource, g *good, sameValue bool, after *effects) {
	c.setGood(r, g)
	r.used = true
	r.refused = ""
	delete(c.waiting, r)
	c.publish(r, State{Value: g.value, Version: g.version, Known: true}, sameValue, after)
}

// fault notes what is wrong with r: beside the good value where there is one,
// even if it is only remembered, instead of it where there is none (gRFC A88).
// c.mu is held.
func (c *Client) fault(r *resource, err error, after *effects) {
	delete(c.waiting, r)
	if r.good == nil {
		c.publish(r, State{Err: err, Known: true}, true, after)
		return
	}
	same := r.used
	r.used = true
	c.publish(r, State{Value: r.good.value, Version: r.good.version, Ambient: err, Known: true}, same, after)
}

// goWithout lets r do without an answer: by what is remembered, or by saying
// why there is nothing. c.mu is held.
func (c *Client) goWithout(r *resource, cause error, after *effects) {
	delete(c.waiting, r)
	switch {
	case r.used || r.state.Load().Known:
	case r.good != nil:
		r.used = true
		if at := c.memory[c.keyOf(r)].confirmedAt(); c.staleSince.IsZero() || at.Before(c.staleSince) {
			c.staleSince = at
		}
		c.publish(r, State{Value: r.good.value, Version: r.good.version, Stale: true, Known: true}, false, after)
	default:
		c.publish(r, State{Err: &UnavailableError{Type: c.types[r.typ].URL, Name: r.name, Cause: cause}}, true, after)
	}
}

// confirm marks the value of r as the one the server has: it was offered that
// version and had nothing to say. c.mu is held.
func (c *Client) confirm(r *resource, after *effects) {
	st := *r.state.Load()
	st.Stale, st.Ambient = false, nil
	c.publish(r, st, true, after)
}

// setGood replaces the good value of r and keeps count of the bytes held. c.mu
// is held.
func (c *Client) setGood(r *resource, g *good) {
	if r.good != nil {
		c.held -= len(r.good.bytes)
	}
	if g != nil {
		c.held += len(g.bytes)
	}
	r.good = g
}

// forget drops a resource nobody is interested in. Its bytes stay in
// Client.memory. c.mu is held.
func (c *Client) forget(r *resource) {
	if c.tables[r.typ][r.name] != r {
		return
	}
	c.touch(r, time.Now())
	c.setGood(r, nil)
	delete(c.tables[r.typ], r.name)
	delete(c.dirty[r.typ], r)
	delete(c.waiting, r)
	c.count--
	if r.state.Load().Stale {
		c.stale--
	}
}

func (c *Client) keyOf(r *resource) key { return key{typeURL: c.types[r.typ].URL, name: r.name} }
