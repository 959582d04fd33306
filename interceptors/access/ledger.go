package access

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

const (
	// maxRows bounds the rows of a Ledger: callers times methods, which are few
	// where nobody plays with them. Beyond it calls are counted for Other.
	maxRows = 1000
	// maxPolicy bounds the text of a policy in a row, in bytes.
	maxPolicy = 1024
	// idleRow is after how long without a call a row may make room for another.
	idleRow = 10 * time.Minute
	// maxPast bounds the rows that made room and whose counts are remembered, so that
	// they go on where they were.
	maxPast = 4 * maxRows
)

// Other stands for all methods, or callers, that are too many to be told apart.
const Other = "other"

// A Ledger counts calls by caller, method and what was decided. Its counts only grow.
// Its zero value is ready, and it is safe for concurrent use. Counting a call that is in
// a row already takes one look-up and one atomic addition.
type Ledger struct {
	// rows is replaced, never changed, so that calls read it without a lock.
	rows atomic.Pointer[map[key]*row]

	mu sync.Mutex // serializes replacements, and guards what follows
	// retired are rows that were left out when they were idle: a call may have
	// found one just before.
	retired map[key]*row
	past    map[key]uint64
}

// A key is what is counted by. The policy is that which denied, or would have.
type key struct {
	caller, host, method string
	outcome              outcome
	policy               string
}

// An outcome is what was decided.
type outcome uint8

const (
	allowed outcome = iota
	denied
	wouldDeny
)

func (o outcome) String() string {
	switch o {
	case denied:
		return "denied"
	case wouldDeny:
		return "would_deny"
	default:
		return "allowed"
	}
}

type row struct {
	calls atomic.Uint64

	// Of samples only: the calls when they were last looked at, and since when they
	// are that many.
	seen  uint64
	since time.Time
}

// Count counts a call with what became of it.
func (l *Ledger) Count(c *Caller, method string, v *Verdict) {
	k := key{caller: c.id(), method: method}
	if c.Peer == nil {
		k.host = c.host()
	}
	switch {
	case !v.Allowed:
		k.outcome, k.policy = denied, cut(v.Policy)
	case v.WouldDeny:
		k.outcome, k.policy = wouldDeny, cut(v.WouldPolicy)
	default: // who allowed it tells nothing
	}
	l.row(k).calls.Add(1)
}

func cut(policy string) string { return policy[:min(len(policy), maxPolicy)] }

func (l *Ledger) row(k key) *row {
	if rows := l.rows.Load(); rows != nil {
		if r := (*rows)[k]; r != nil {
			return r
		}
	}
	return l.add(k)
}

// add returns the row of a key that had none a moment ago.
func (l *Ledger) add(k key) *row {
	l.mu.Lock()
	defer l.mu.Unlock()
	rows := map[key]*row{}
	if old := l.rows.Load(); old != nil {
		rows = *old
	}
	// Rows are kept free for what all the rest is counted by.
	for _, k := range []key{
		k,
		{caller: k.caller, host: k.host, method: Other, outcome: k.outcome},
		{caller: Other, method: Other, outcome: k.outcome},
	} {
		if r := rows[k]; r != nil {
			return r
		}
		if len(rows) < maxRows-int(wouldDeny)-1 || k.caller == Other {
			next := maps.Clone(rows)
			r := &row{}
			r.calls.Store(l.past[k])
			delete(l.past, k)
			next[k] = r
			l.rows.Store(&next)
			return r
		}
	}
	return &row{} // never: the last of the keys always finds room
}

// Samples yields the counts so far, as tulle.server.access, and makes room when the
// ledger is half full: a row without a call for ten minutes is told of no more until
// there is one.
func (l *Ledger) Samples(yield func(telemetry.Sample)) {
	for k, calls := range l.look(time.Now()) {
		yield(telemetry.Sample{Name: "tulle.server.access", Sum: true, Value: float64(calls), Attributes: []telemetry.Attribute{
			{Key: "tulle.source", Value: k.caller},
			{Key: "tulle.address", Value: k.host},
			{Key: "grpc.method", Value: k.method},
			{Key: "tulle.verdict", Value: k.outcome.String()},
			{Key: "tulle.policy", Value: k.policy},
		}})
	}
}

// look returns the counts, and retires rows.
func (l *Ledger) look(now time.Time) map[key]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.rows.Load()
	if all == nil {
		return nil
	}
	l.collect(*all)
	told := make(map[key]uint64, len(*all))
	var idle []key
	for k, r := range *all {
		calls := r.calls.Load()
		told[k] = calls
		switch {
		case r.since.IsZero() || calls != r.seen:
			r.seen, r.since = calls, now
		case now.Sub(r.since) >= idleRow:
			idle = append(idle, k)
		}
	}
	if len(*all) > maxRows/2 && len(idle) > 0 {
		l.retire(*all, idle)
	}
	return told
}

// retire leaves rows out. Caller holds mu.
func (l *Ledger) retire(all map[key]*row, idle []key) {
	next := maps.Clone(all)
	l.retired = make(map[key]*row, len(idle))
	if l.past == nil {
		l.past = map[key]uint64{}
	}
	for _, k := range idle {
		if len(l.past) == maxPast {
			break // rather one row less than a count that begins anew
		}
		l.retired[k], l.past[k] = next[k], next[k].seen
		delete(next, k)
	}
	l.rows.Store(&next)
}

// collect takes in the calls that found a row just before it was left out. Caller holds
// mu.
func (l *Ledger) collect(all map[key]*row) {
	for k, r := range l.retired {
		late := r.calls.Load() - r.seen
		switch again := all[k]; {
		case late == 0:
		case again != nil:
			again.calls.Add(late)
		default:
			l.past[k] += late
		}
	}
	l.retired = nil
}
