package identity

import (
	"crypto/tls"
	"sync/atomic"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// board shows what an authority that is told by others has at the moment. One
// goroutine writes.
type board struct {
	trust atomic.Pointer[pinned]
	own   atomic.Pointer[tls.Certificate]
}

// pinned is a trust and what is closed when another takes its place.
type pinned struct {
	trust   *Trust
	changed chan struct{}
}

// Trust implements Authority.
func (b *board) Trust() *Trust { return b.trust.Load().trust }

// Changed implements Authority.
func (b *board) Changed() <-chan struct{} { return b.trust.Load().changed }

// Certificate implements Authority.
func (b *board) Certificate() *tls.Certificate { return b.own.Load() }

// pin shows a bundle, and reports whether it is another. A renewBefore of zero
// keeps the one there is.
func (b *board) pin(bundle *spiffe.Bundle, renewBefore time.Time) bool {
	prev, next := b.trust.Load(), Trust{Bundle: bundle, RenewBefore: renewBefore, Generation: 1}
	if prev != nil {
		if renewBefore.IsZero() {
			next.RenewBefore = prev.trust.RenewBefore
		}
		if bundle.Equal(prev.trust.Bundle) && next.RenewBefore.Equal(prev.trust.RenewBefore) {
			return false
		}
		next.Generation = prev.trust.Generation + 1
	}
	b.trust.Store(&pinned{trust: &next, changed: make(chan struct{})})
	if prev != nil {
		close(prev.changed)
	}
	return true
}
