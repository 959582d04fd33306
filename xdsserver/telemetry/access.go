package telemetry

import "time"

// Idle is how long a caller is known after its last call.
const Idle = time.Hour

const (
	// maxRows bounds the callers of one service, maxTotal those of all. Beyond them a
	// new method is Other, for which there is as much room again.
	maxRows  = 10_000
	maxTotal = 200_000
	// maxBytes and maxTotalBytes bound what the same rows take, for texts may be
	// long: ordinary ones reach the limits on rows first.
	maxBytes      = 8 << 20
	maxTotalBytes = 128 << 20
	// rowBytes is what a row takes beside its texts, about.
	rowBytes = 200
	// logEvery is the least time between two messages about dropped observations.
	logEvery = time.Minute
)

// The verdicts of tulle.server.access.
const (
	verdictDenied    = "denied"
	verdictWouldDeny = "would_deny"
)

// A size is what rows take.
type size struct{ rows, bytes int }

func (s *size) add(rows, bytes int) {
	s.rows += rows
	s.bytes += bytes
}

// A table holds the rows of one service.
type table struct {
	rows map[key]*row
	size size
}

// A key tells rows of one service apart.
type key struct{ caller, address, method string }

type row struct {
	allowed, denied, wouldDeny uint64
	policy                     string
	seen                       time.Time
}

// bytes is what the row takes with its key.
func (r *row) bytes(k key) int {
	return rowBytes + len(k.caller) + len(k.address) + len(k.method) + len(r.policy)
}

// access counts so many decisions of one kind.
func (s *Server) access(service string, o *observation, n uint64, now time.Time) {
	r := s.row(service, o.key)
	if r == nil {
		s.dropped += n
		return
	}
	switch o.verdict {
	case verdictDenied:
		r.denied = sum(r.denied, n)
	case verdictWouldDeny:
		r.allowed = sum(r.allowed, n)
		r.wouldDeny = sum(r.wouldDeny, n)
	default:
		r.allowed = sum(r.allowed, n)
	}
	s.settle(service, r, o.policy, now)
}

// settle notes the policy that decided last, where there is room for it, and when.
func (s *Server) settle(service string, r *row, policy string, now time.Time) {
	t := s.services[service]
	if more := len(policy) - len(r.policy); policy != "" && (more <= 0 || !s.full(t, 2)) {
		r.policy = policy
		s.grow(t, 0, more)
	}
	r.seen = now
}

// row returns the row of a key; nil where there is no room for it.
func (s *Server) row(service string, k key) *row {
	t := s.services[service]
	if t == nil {
		t = &table{rows: make(map[key]*row)}
		s.services[service] = t
	}
	if k.caller != "" {
		k.address = ""
	}
	r := t.rows[k]
	if r == nil && s.full(t, 1) {
		k.method = Other
		r = t.rows[k]
	}
	if r == nil {
		if s.full(t, 2) {
			return nil
		}
		r = &row{}
		t.rows[k] = r
		s.grow(t, 1, r.bytes(k))
	}
	return r
}

// full reports whether the rows of a table, or all, have reached so many times
// their bounds.
func (s *Server) full(t *table, times int) bool {
	return t.size.rows >= times*maxRows || t.size.bytes >= times*maxBytes ||
		s.total.rows >= times*maxTotal || s.total.bytes >= times*maxTotalBytes
}

func (s *Server) grow(t *table, rows, bytes int) {
	t.size.add(rows, bytes)
	s.total.add(rows, bytes)
}

// sweepRows takes out idle rows.
func (s *Server) sweepRows(now time.Time) {
	for service, t := range s.services {
		for k, r := range t.rows {
			if r.idle(now) {
				delete(t.rows, k)
				s.grow(t, -1, -r.bytes(k))
			}
		}
		if len(t.rows) == 0 {
			delete(s.services, service)
		}
	}
}

func (r *row) idle(now time.Time) bool { return now.Sub(r.seen) >= Idle }
