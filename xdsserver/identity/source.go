package identity

import (
	"context"

	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

// NewSource returns the source that serves an authority's trust as configuration:
// how a rotation of roots reaches every process. The Outputs' generation is Trust's.
func NewSource(a Authority) source.Source { return trustSource{authority: a} }

type trustSource struct{ authority Authority }

// Name is "identity".
func (trustSource) Name() string { return "identity" }

// Run implements source.Source.
func (s trustSource) Run(ctx context.Context, emit func(source.Output)) error {
	for {
		// In this order: a change between the two is seen in the next round.
		changed := s.authority.Changed()
		t := s.authority.Trust()
		emit(source.Output{
			Generation: t.Generation,
			Trust: &model.Trust{
				Domain:      t.Bundle.TrustDomain(),
				Datacenter:  t.Datacenter,
				Authorities: t.Bundle.DER(),
				RenewBefore: t.RenewBefore,
			},
		})
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}
