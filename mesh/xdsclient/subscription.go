package xdsclient

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// A State is what is known of one resource at one moment. It is immutable.
type State struct {
	// Value is what the type's decoder made of the last good resource; nil while
	// there is none.
	Value any
	// Version is the server's name for that content.
	Version string
	// Err is why there is no Value: a *NotFoundError, *RejectedError or
	// *ServerError; an *UnavailableError while Known is false.
	Err error
	// Ambient is what is wrong with the resource although Value is still good
	// (gRFC A88): a newer one was refused, or the server has it no more.
	Ambient error
	// Stale is true while no server confirms Value: it came from the disk, or no
	// server has been there for some seconds.
	Stale bool
	// Known is false until a server or the disk has answered.
	Known bool
}

// A Subscription is interest in one resource. It is safe for concurrent use.
type Subscription struct {
	client   *Client // nil when the resource cannot be asked for
	resource *resource
	notify   func()
	closed   atomic.Bool
}

// State returns what is known now. It is one atomic load: it neither blocks nor
// allocates. After [Subscription.Close] it is the last state seen.
func (s *Subscription) State() State { return *s.resource.state.Load() }

// Close ends the interest. The last one to close a resource unsubscribes from
// it; its value is remembered for a week in case interest comes back. Close is
// idempotent. A notify that has already begun may still run.
func (s *Subscription) Close() {
	if s.closed.Swap(true) || s.client == nil {
		return
	}
	c, r := s.client, s.resource
	var after effects
	c.mu.Lock()
	r.subs = slices.DeleteFunc(r.subs, func(o *Subscription) bool { return o == s })
	if len(r.subs) == 0 {
		if r.sent {
			// The server is told first: until then the value is kept, because a
			// server that never saw the interest end will not send it again.
			c.dirty[r.typ][r] = struct{}{}
			c.wakeSender.set()
		} else {
			c.forget(r)
		}
		c.review(&after)
	}
	c.mu.Unlock()
	after.run(c.logger)
}

// Subscribe adds interest in a resource; [Subscription.Close] ends it. Interest
// in one resource is shared: the server is asked once.
//
// notify is called after each change of the State, from a goroutine of the
// Client's, with no lock held; it must not block, and may be nil. It is not
// called for the State that the Subscription already has when Subscribe returns.
//
// A value remembered from earlier is used when the server has not answered
// within 500 ms, or at once when no server can be reached. A type that is not in
// the Config, an empty name, "*" (a wildcard), or a name too long or not valid
// UTF-8 is answered by a State with Err.
func (c *Client) Subscribe(typeURL, name string, notify func()) *Subscription {
	typ, err := c.check(typeURL, name)
	if err != nil {
		return refused(err)
	}
	s := &Subscription{client: c, notify: notify}
	var after effects
	good := c.recall(typ, name)
	c.mu.Lock()
	r := c.tables[typ][name]
	if r == nil {
		if c.count >= maxResources {
			c.mu.Unlock()
			return refused(fmt.Errorf("xdsclient: %s: more than %d resources are subscribed to: close those not needed",
				resourceText(typeURL, name), maxResources))
		}
		r = c.add(typ, name, good, &after)
	}
	r.subs = append(r.subs, s)
	s.resource = r
	c.review(&after)
	c.mu.Unlock()
	after.run(c.logger)
	return s
}

// check returns the index of the type, or why the resource cannot be asked for.
func (c *Client) check(typeURL, name string) (int, error) {
	typ, ok := c.index[typeURL]
	var err error
	switch {
	case !ok:
		err = errors.New("the type is not in Config.Types")
	case name == "" || name == "*":
		err = errors.New("wildcards are not asked for: name a resource")
	case len(name) > maxName:
		return 0, fmt.Errorf("xdsclient: a name of %d bytes: the most is %d", len(name), maxName)
	case !utf8.ValidString(name):
		err = errors.New("the name is not valid UTF-8")
	default:
		return typ, nil
	}
	return 0, fmt.Errorf("xdsclient: %s: %w", resourceText(typeURL, name), err)
}

// refused returns a Subscription whose resource is never asked for.
func refused(err error) *Subscription {
	s := &Subscription{resource: &resource{}}
	s.resource.state.Store(&State{Err: err, Known: true})
	return s
}

// recall makes a value of what is remembered of a resource that nobody holds,
// or returns nil. It takes c.mu only around look-ups: decoders run without it.
func (c *Client) recall(typ int, name string) *good {
	k := key{typeURL: c.types[typ].URL, name: name}
	c.mu.Lock()
	e := c.memory[k]
	if c.tables[typ][name] != nil {
		e = nil
	}
	c.mu.Unlock()
	if e == nil {
		return nil
	}
	v, err := decode(c.types[typ], name, e.value)
	if err == nil {
		return &good{value: v, version: e.version, bytes: e.value}
	}
	// It was accepted once, so the decoder has become stricter since.
	c.logger.Warn("remembered resource ignored", "type", k.typeURL, "name", name, "error", err)
	c.mu.Lock()
	if c.memory[k] == e {
		delete(c.memory, k)
	}
	c.mu.Unlock()
	return nil
}

// add makes the entry of a resource that nobody held. c.mu is held.
func (c *Client) add(typ int, name string, g *good, after *effects) *resource {
	r := &resource{typ: typ, name: name, asked: time.Now()}
	r.state.Store(&State{})
	c.tables[typ][name] = r
	c.count++
	c.setGood(r, g)
	c.dirty[typ][r] = struct{}{}
	c.wakeSender.set()
	if c.down != nil {
		c.goWithout(r, c.down, after)
	} else {
		c.waiting[r] = struct{}{}
		c.wakeKeeper.set()
	}
	return r
}
