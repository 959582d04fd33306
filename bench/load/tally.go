package load

import "sync/atomic"

// A tally counts workers that have nothing to do.
type tally struct{ n atomic.Int64 }

// free says that one more has.
func (t *tally) free() { t.n.Add(1) }

// idle takes one, if there is one. Only one goroutine takes.
func (t *tally) idle() bool {
	if t.n.Load() == 0 {
		return false
	}
	t.n.Add(-1)
	return true
}
