package resolver

import (
	"slices"
	"strings"
)

// A TargetStatus is how one service stands that the process calls.
type TargetStatus struct {
	Service string
	// Connections is the number of connections that are not idle.
	Connections int
	// Revision is that of the configuration in use, zero when there is none.
	Revision uint64
	// Clusters are the clusters that routes lead to or mirror to, sorted.
	Clusters []string
	// Waiting is what a newer configuration waits for; the one in use, if any,
	// stays until it is there.
	Waiting []string
	// Stale is whether part of the configuration in use is not confirmed by the
	// control plane.
	Stale bool
	// Err is why the newest resources cannot be used; nil when they can.
	Err error
}

// Targets returns all services that the process calls, in order of their names.
func (b *Builder) Targets() []TargetStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]TargetStatus, 0, len(b.targets))
	for _, t := range b.targets {
		s := TargetStatus{
			Service:     t.service,
			Connections: len(t.conns),
			Waiting:     t.last.waiting,
			Stale:       t.last.stale,
		}
		if t.last.config != nil {
			s.Revision = t.last.config.Revision
			s.Clusters = clustersOf(t.last.config.VirtualHost)
		}
		if t.last.failure != nil {
			s.Err = t.last.failure
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(x, y TargetStatus) int { return strings.Compare(x.Service, y.Service) })
	return all
}
