package balancer

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// maxCounts bounds the clusters whose ejections are counted apart. They are as many as
// the configuration has ever named; those beyond are counted together.
const maxCounts = 4096

// A countKey is what is counted by.
type countKey struct{ service, cluster string }

// counts is what happened to the endpoints of one cluster. They outlive the cluster,
// so that they only grow. Nil counts nothing.
type counts struct{ ejections, openings atomic.Uint64 }

func (c *counts) ejected() {
	if c != nil {
		c.ejections.Add(1)
	}
}

func (c *counts) opened() {
	if c != nil {
		c.openings.Add(1)
	}
}

// counted returns the counts of a cluster.
func (s *Shared) counted(service, cluster string) *counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := countKey{service: service, cluster: cluster}
	if s.counts[key] == nil && len(s.counts) >= maxCounts {
		key = countKey{} // which is nobody's name
	}
	c := s.counts[key]
	if c == nil {
		c = &counts{}
		s.counts[key] = c
	}
	return c
}

// Counts are what happened to the endpoints of one cluster since the process began.
type Counts struct {
	// Service is the dialled one; it and Cluster are empty for all those beyond the
	// first few thousand.
	Service, Cluster string
	// Ejections are how often outlier detection ejected an endpoint, Openings how
	// often the breaker of one opened that was closed.
	Ejections, Openings uint64
}

// Counts returns the counts of all clusters that ever were, in the order of their names.
func (s *Shared) Counts() []Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Counts, 0, len(s.counts))
	for key, c := range s.counts {
		all = append(all, Counts{
			Service: key.service, Cluster: key.cluster,
			Ejections: c.ejections.Load(), Openings: c.openings.Load(),
		})
	}
	slices.SortFunc(all, func(a, b Counts) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Cluster, b.Cluster))
	})
	return all
}
