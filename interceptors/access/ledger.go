package access

import (
	"maps"
	"sync"
	"sync/atomic"
)

const (
	// maxRows bounds the rows of a Ledger: callers times methods, which are few
	// where nobody plays with them. Beyond it calls are counted for Other.
	maxRows = 1000
	// maxPolicy bounds the text of a policy in a row, in bytes.
	maxPolicy = 1024
)

// Other stands for all methods, or callers, that are too many to be told apart.
const Other = "other"

// A Ledger counts calls by caller and method. Its zero value is ready, and it is
// safe for concurrent use. Counting a call that is in a row already takes one
// look-up and one atomic addition.
type Ledger struct {
	// rows is replaced, never changed, so that calls read it without a lock.
	rows atomic.Pointer[map[key]*row]

	mu sync.Mutex // serializes replacements
	// retired are rows that were left out when they were idle: a call may have
	// found one just before.
	retired map[key]*row
}

type key struct{ caller, host, method string }

type row struct {
	allowed, denied, wouldDeny atomic.Uint64
	policy                     atomic.Pointer[string]
}

// Count counts a call with what became of it.
func (l *Ledger) Count(c *Caller, method string, v *Verdict) {
	k := key{caller: c.id(), method: method}
	if c.Peer == nil {
		k.host = c.host()
	}
	r := l.row(k)
	switch {
	case !v.Allowed:
		r.denied.Add(1)
		r.blame(v.Policy)
	case v.WouldDeny:
		r.allowed.Add(1)
		r.wouldDeny.Add(1)
		r.blame(v.WouldPolicy)
	default:
		r.allowed.Add(1)
	}
}

// blame notes the policy that denied last, or would have.
func (r *row) blame(policy string) {
	if old := r.policy.Load(); old == nil || *old != policy {
		text := policy[:min(len(policy), maxPolicy)]
		r.policy.Store(&text)
	}
}

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
	// One row is kept free for what all the rest is counted by.
	for _, k := range []key{k, {caller: k.caller, host: k.host, method: Other}, {caller: Other, method: Other}} {
		if r := rows[k]; r != nil {
			return r
		}
		if len(rows) < maxRows-1 || k.caller == Other {
			next := maps.Clone(rows)
			r := &row{}
			next[k] = r
			l.rows.Store(&next)
			return r
		}
	}
	return &row{} // never: the last of the keys always finds room
}

// A Count is the calls that are alike since they were last taken.
type Count struct {
	// Caller is a SPIFFE id, Other for all beyond the bound; empty for a caller
	// without an identity, which Host is the address of.
	Caller, Host, Method       string
	Allowed, Denied, WouldDeny uint64
	// Policy denied last, or would have.
	Policy string
}

// take returns what was counted since the last take, and makes room when the
// ledger is half full.
func (l *Ledger) take() []Count {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.rows.Load()
	if all == nil {
		return nil
	}
	var counts []Count
	for k, r := range l.retired {
		counts = r.take(counts, k)
	}
	l.retired = nil
	var idle []key
	for k, r := range *all {
		before := len(counts)
		if counts = r.take(counts, k); len(counts) == before {
			idle = append(idle, k)
		}
	}
	if len(*all) > maxRows/2 && len(idle) > 0 {
		next := maps.Clone(*all)
		l.retired = make(map[key]*row, len(idle))
		for _, k := range idle {
			l.retired[k] = next[k]
			delete(next, k)
		}
		l.rows.Store(&next)
	}
	return counts
}

func (r *row) take(counts []Count, k key) []Count {
	c := Count{
		Caller: k.caller, Host: k.host, Method: k.method,
		Allowed: r.allowed.Swap(0), Denied: r.denied.Swap(0), WouldDeny: r.wouldDeny.Swap(0),
	}
	if c.Allowed == 0 && c.Denied == 0 && c.WouldDeny == 0 {
		return counts
	}
	if policy := r.policy.Load(); policy != nil {
		c.Policy = *policy
	}
	return append(counts, c)
}

// put gives back what was taken and not delivered.
func (l *Ledger) put(counts []Count) {
	for i := range counts {
		c := &counts[i]
		r := l.row(key{caller: c.Caller, host: c.Host, method: c.Method})
		r.allowed.Add(c.Allowed)
		r.denied.Add(c.Denied)
		r.wouldDeny.Add(c.WouldDeny)
		if c.Policy != "" && r.policy.Load() == nil {
			r.policy.CompareAndSwap(nil, &c.Policy)
		}
	}
}
