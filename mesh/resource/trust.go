package resource

import (
	"crypto/x509"
	"time"
)

// A TrustBundle is what the peers of one trust domain are verified against. It is
// named by the trust domain, and immutable.
type TrustBundle struct {
	TrustDomain string
	// Authorities are the root certificates, 1 to 16.
	Authorities []*x509.Certificate
	// RenewBefore asks processes to renew, soon, what was issued to them before
	// that moment; zero asks nobody.
	RenewBefore time.Time
}

// ResourceName implements [Resource].
func (t *TrustBundle) ResourceName() string { return t.TrustDomain }
