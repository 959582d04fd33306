package consul

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// A reading is one answer of Consul about a service.
type reading struct {
	entries []*api.ServiceEntry
	// filtered says that ACLs kept something back.
	filtered bool
	// fresh says that the leader was asked, because instances are held or hidden.
	fresh bool
	// err is why there is no answer.
	err error
}

// A service is the state of one service of the catalog: readings go in, a view comes
// out. It knows no clock and no network, and belongs to one goroutine.
type service struct {
	name, self string // what Consul calls it, and who this xdsserver is

	members map[key]*member
	flaps   damper
	// problems are of the last reading.
	problems []model.Problem
	// partial says that ACLs keep something back as a rule; hidden is how many members
	// stay since ACLs may keep them back, though they did not before.
	partial bool
	hidden  int
	known   bool
	err     error
	// askAfter is the earliest time to ask the leader.
	askAfter time.Time
}

// A member is one instance, as Consul last had it.
type member struct {
	instance

	// usable is what Consul said last.
	usable bool
	// held is until when it stays at least, though it is not usable; zero where it is
	// not held.
	held time.Time
	// left is one of this xdsserver's that was there when it started.
	left bool
	// shown is the endpoint as the last view has it.
	shown model.Endpoint
}

// counted reports whether a member takes calls, or did until now.
func (m *member) counted() bool { return m.usable || !m.held.IsZero() }

// A view is what a service looks like. It is immutable.
type view struct {
	instances []instance // in order; without those of this xdsserver
	own       []instance // those of this xdsserver, in order
	problems  []model.Problem
	err       error
	// known says that there was an answer. empty says that Consul has, and had, no
	// instance that anybody may call.
	known, empty bool
}

func newService(name, self string) *service {
	return &service{name: name, self: self, members: make(map[key]*member), flaps: make(damper)}
}

// take folds one reading in.
func (s *service) take(r reading, now time.Time) {
	if r.fresh {
		s.askAfter = now.Add(again)
	}
	if r.err != nil {
		if !r.fresh {
			s.err = r.err
		}
		return
	}
	in := reader{self: s.self}
	found := in.read(r.entries)
	s.problems = in.problems
	s.lose(found, r, now)
	for _, f := range found {
		if f.usable() {
			s.gain(f, now)
		} else if s.members[f.key()] == nil {
			s.members[f.key()] = &member{instance: f, left: !s.known}
		}
	}
	s.known = true
	s.flaps.prune(now)
	s.forgive(now)
}

// gain takes a usable instance in.
func (s *service) gain(f instance, now time.Time) {
	m := s.members[f.key()]
	if m == nil {
		m = &member{left: !s.known}
		s.members[f.key()] = m
	}
	if !m.usable {
		s.flaps.came(f.key(), now)
	}
	m.instance, m.usable, m.held = f, true, time.Time{}
}

// lose settles what becomes of those that are not usable, by found.
func (s *service) lose(found []instance, r reading, now time.Time) {
	l := loss{confirmed: r.fresh, taken: make(map[string]bool, len(found))}
	present := make(map[key]*instance, len(found))
	before, after, absent := 0, 0, 0
	for i, f := range found {
		present[f.key()] = &found[i]
		if f.usable() {
			after++
			l.taken[f.endpoint.Addresses[0]] = true
		}
	}
	for k, m := range s.members {
		if m.counted() {
			before++
			if present[k] == nil {
				absent++
			}
		}
	}
	l.many = implausible(before, after)
	if l.hidden = r.filtered && s.known && (!s.partial || l.many || s.hidden > 0); l.hidden {
		l.many = implausible(before, after+absent)
	}
	hidden := 0
	for k, m := range s.members {
		f := present[k]
		switch {
		case f != nil && f.usable():
			continue
		case f == nil && l.hidden && m.counted():
			hidden++
			continue
		case m.usable:
			s.flaps.went(k, now)
		}
		if !m.settle(f, l, now) {
			delete(s.members, k)
		}
	}
	s.hide(hidden, r.filtered, now)
}

// hide sets what follows from how many members ACLs may keep back.
func (s *service) hide(n int, filtered bool, now time.Time) {
	if s.hidden == 0 && n > 0 {
		s.askAfter = now.Add(again)
	}
	s.hidden, s.err = n, nil
	if n == 0 {
		s.partial = filtered
		return
	}
	s.err = fmt.Errorf("service %s: consul's ACLs hide instances that xdsserver saw before, and %d stay as they were: "+
		"give its token service:read and node:read again", s.name, n)
}

// forgive lets damped instances take calls where no others do.
func (s *service) forgive(now time.Time) {
	for k, m := range s.members {
		if !m.held.IsZero() || m.usable && !s.flaps.damped(k, now) {
			return
		}
	}
	for k := range s.members {
		s.flaps.forgive(k)
	}
}

// askAt is when to ask the leader; zero for never.
func (s *service) askAt() time.Time {
	if s.hidden > 0 {
		return s.askAfter
	}
	at := time.Time{}
	for _, m := range s.members {
		at = earlier(at, m.held)
	}
	if !at.IsZero() && at.Before(s.askAfter) {
		return s.askAfter
	}
	return at
}

// next is when the state changes by time alone; zero for never.
func (s *service) next(now time.Time) time.Time {
	return earlier(s.askAt(), s.flaps.next(now))
}

// view returns what the service looks like now.
func (s *service) view(now time.Time) *view {
	v := &view{known: s.known, err: s.err, empty: len(s.members) == 0, problems: slices.Clone(s.problems)}
	keys := slices.SortedFunc(maps.Keys(s.members), key.compare)
	v.instances = make([]instance, 0, len(keys))
	for _, k := range keys {
		m := s.members[k]
		e := m.endpoint
		switch {
		case k.own && m.usable && m.left:
			e.Health = model.Lost
		case k.own:
			// The registry of this xdsserver says what it takes.
		case m.usable && s.flaps.damped(k, now):
			e.Health = model.NotServing
			v.problems = append(v.problems, s.flaps.problem(k))
		case m.usable:
			e.Health = model.Healthy
		case !m.held.IsZero():
			e.Health = model.Lost
		default:
			e.Health = model.NotServing
		}
		m.show(e, now)
		shown := instance{endpoint: m.shown, entry: m.entry}
		if k.own {
			v.own = append(v.own, shown)
			continue
		}
		v.instances = append(v.instances, shown)
	}
	v.problems = append(v.problems, s.holds()...)
	return v
}

// show sets what is shown of a member; Since stays as long as nothing else differs.
func (m *member) show(e model.Endpoint, now time.Time) {
	e.Since = m.shown.Since
	if !reflect.DeepEqual(e, m.shown) {
		e.Since = now
	}
	m.shown = e
}

// same reports whether nothing that anybody asks about differs. The errors of two views
// are of one kind where their text is.
func (v *view) same(o *view) bool {
	return o != nil && v.known == o.known && v.empty == o.empty && fmt.Sprint(v.err) == fmt.Sprint(o.err) &&
		slices.Equal(v.problems, o.problems) && slices.EqualFunc(v.instances, o.instances, instance.same) && slices.EqualFunc(v.own, o.own, instance.same)
}
