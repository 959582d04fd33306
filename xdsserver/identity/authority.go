package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// An Authority gives the mesh its identities. All methods are safe for concurrent
// use; none but Run and Issue blocks.
type Authority interface {
	// Kind is "built-in", "files" or "workload-api".
	Kind() string
	// Trust is what identities are verified against now; never nil.
	Trust() *Trust
	// Changed is closed when Trust differs from what it was when Changed was
	// called; ask for both again after it, Changed first.
	Changed() <-chan struct{}
	// Issue signs a leaf. It returns the certificates, DER, leaf first, then the
	// intermediates, without the root. It returns a *NotIssuerError when
	// identities come from elsewhere.
	Issue(ctx context.Context, order Order) ([][]byte, error)
	// Certificate is xdsserver's own for its mesh port. Its chain ends with the
	// root, so that a process that has only a token can check its pin. It is
	// replaced before it expires: ask for each handshake, and do not change it.
	Certificate() *tls.Certificate
	// Status says how it is.
	Status() Status
	// Run rotates and renews until ctx ends, and returns nil then. It may be
	// called once at a time.
	Run(ctx context.Context) error
}

// Trust is what identities are verified against. It is immutable.
type Trust struct {
	Bundle *spiffe.Bundle
	// RenewBefore asks for the renewal of certificates that are not valid from
	// this moment on but from an earlier one; zero asks nobody. To be compared with a
	// certificate's NotBefore, which is 60 seconds before it was issued.
	RenewBefore time.Time
	// Generation grows with each change, and across restarts of a CA on disk.
	Generation uint64
	// Datacenter is that of Consul where its authority signs; empty elsewhere.
	Datacenter string
}

// Domain is where the identities are that the trust is for.
func (t *Trust) Domain() spiffe.Domain {
	return spiffe.Domain{Name: t.Bundle.TrustDomain(), Datacenter: t.Datacenter}
}

// An Order is a certificate to be issued, for an identity that was attested.
type Order struct {
	// ID is the SPIFFE ID of a service, of the authority's trust domain.
	ID string
	// Key is the holder's public key; P-256.
	Key *ecdsa.PublicKey
	// Request is the certificate request that the key came in, DER, for an Authority that
	// hands it on.
	Request []byte
}

// ErrUnnamed is returned by Issue of an Authority that hands requests on: it takes those
// that name the identity in question, and nothing else.
var ErrUnnamed = errors.New("identity: the authority signs requests that name the identity only")

// A NotIssuerError is returned by an Authority that signs for nobody, since
// identities come from elsewhere.
type NotIssuerError struct {
	// Kind is that of the Authority.
	Kind string
	// Do is what to do instead, for the process that asked.
	Do string
}

// Error says where identities come from.
func (e *NotIssuerError) Error() string {
	return fmt.Sprintf("identity: the authority %q issues no certificates: %s", e.Kind, e.Do)
}

// TokenPin returns the SHA-256 of the public key (SubjectPublicKeyInfo) of the root
// that the authority's own certificate leads to, which a join token carries.
//
// A token made before a rotation of the root is good until the old root is retired.
func TokenPin(a Authority) [sha256.Size]byte {
	chain := a.Certificate().Certificate
	root, err := x509.ParseCertificate(chain[len(chain)-1])
	if err != nil {
		return [sha256.Size]byte{} // of an Authority outside this package: a pin that nothing matches
	}
	return sha256.Sum256(root.RawSubjectPublicKeyInfo)
}
