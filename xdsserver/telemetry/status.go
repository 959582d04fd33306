package telemetry

import "time"

// A Status is how a server takes reports.
type Status struct {
	// Processes are those that reported in the last 30 seconds.
	Processes int
	// Since the start, for want of room: points that were refused, series that are not
	// kept apart, and five minutes of a line that went before their time.
	Refused, Folded, Evicted uint64
	// Collector is where reports are sent on to; empty for nowhere. CollectorProblem is
	// why it did not take the last, empty when it did; CollectorDropped counts those
	// that it did not take.
	Collector, CollectorProblem string
	CollectorDropped            uint64
}

// Status tells how reports are taken.
func (s *Server) Status(now time.Time) Status {
	s.mu.Lock()
	status := Status{
		Refused: sum(sum(s.stats.refused[reasonSeries], s.stats.refused[reasonRoom]), s.stats.refused[reasonRate]),
		Folded:  s.window.folded,
		Evicted: s.window.evicted,
	}
	for _, r := range s.reporters {
		if r.here(now) {
			status.Processes++
		}
	}
	s.mu.Unlock()
	if f := s.forward; f != nil {
		status.Collector, status.CollectorDropped = f.conn.Target(), f.dropped.Load()
		if p := f.problem.Load(); p != nil {
			status.CollectorProblem = *p
		}
	}
	return status
}
