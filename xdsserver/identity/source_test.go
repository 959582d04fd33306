package identity

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

func TestSourceEmitsEachTrustOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := inMemory(t, nil)
		run(t, ca)
		s := NewSource(ca)
		if s.Name() != "identity" {
			t.Errorf("name %s", s.Name())
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var got []source.Output
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx, func(o source.Output) { got = append(got, o) }) }()
		synctest.Wait()
		must(t, ca.Rotate(context.Background(), Root))
		time.Sleep(48 * time.Hour)
		cancel()
		must(t, <-done)
		var roots []int
		for i, o := range got {
			roots = append(roots, len(o.Trust.Authorities))
			bundle, err := spiffe.ParseBundle(o.Trust.Domain, o.Trust.Authorities)
			must(t, err)
			if o.Generation != uint64(i+1) || o.Err != nil || bundle.TrustDomain() != domain {
				t.Errorf("output %+v", o)
			}
			if asks := !o.Trust.RenewBefore.IsZero(); asks != (i >= 2) {
				t.Errorf("output %d asks for renewal: %v", i, asks)
			}
		}
		// The old one, both, both with the new one in use, the new one.
		if len(roots) != 4 || roots[0] != 1 || roots[1] != 2 || roots[2] != 2 || roots[3] != 1 {
			t.Errorf("roots %v, want 1, 2, 2, 1", roots)
		}
	})
}
