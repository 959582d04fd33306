package consul

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

const (
	// hold is how long instances stay that went in such a number that it may be Consul
	// that lost them. Lower believes a server that has just started, and has not read
	// its log; higher has callers try longer what is gone.
	hold = 10 * time.Second
	// again is how soon Consul's leader is asked once more, where it could not say or
	// ACLs hide what it says. Lower finds out sooner, and costs the leader more.
	again = 5 * time.Second
)

// implausible reports whether a service with so many usable instances before and after
// one answer may rather have lost its registry than its instances: none is left, or
// over 30 % went, and no fewer than two.
func implausible(before, after int) bool {
	gone := before - after
	return before > 0 && after == 0 || gone >= 2 && gone*10 > before*3
}

// A loss is how to take that an answer has fewer usable instances than the one before.
type loss struct {
	// many are held.
	many bool
	// hidden says that who is not in the answer may be kept back by ACLs, and stays.
	hidden bool
	// confirmed says that the leader was asked whether they are gone, and answered.
	confirmed bool
	// taken are addresses that usable instances have.
	taken map[string]bool
}

// settle has a member that is not usable, by what was found, be held or go. It returns
// false where it is gone.
func (m *member) settle(found *instance, l loss, now time.Time) (stays bool) {
	switch {
	case !m.counted():
	case l.taken[m.endpoint.Addresses[0]]: // replaced, as by a restart
		m.held = time.Time{}
	case m.held.IsZero() && l.many:
		m.held = now.Add(hold)
	case l.confirmed && !now.Before(m.held):
		m.held = time.Time{}
	}
	m.usable = false
	if found != nil {
		m.instance = *found
	}
	return found != nil || !m.held.IsZero()
}

// holds tells of the instances of a service that are held.
func (s *service) holds() []model.Problem {
	counted, held := make(map[model.ServiceName]int), make(map[model.ServiceName]int)
	for k, m := range s.members {
		if m.counted() {
			counted[k.service]++
		}
		if !m.held.IsZero() {
			held[k.service]++
		}
	}
	problems := make([]model.Problem, 0, len(held))
	for _, name := range slices.SortedFunc(maps.Keys(held), model.ServiceName.Compare) {
		problems = append(problems, model.Problem{
			Object: model.Ref{Kind: model.KindService, Namespace: name.Namespace, Name: name.Name},
			From:   Name, Field: "endpoints", Warning: true,
			Message: fmt.Sprintf("%d of %d instances went from Consul, or turned critical, at once: they take calls for %v more, "+
				"and then until Consul's leader says the same", held[name], counted[name], hold),
		})
	}
	return problems
}
