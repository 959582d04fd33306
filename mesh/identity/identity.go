package identity

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// An Identity is an X.509-SVID with its key, and what peers are verified against.
// The two are one value, so that no handshake ever sees one of today and one of
// yesterday. It is immutable.
type Identity struct { //nolint:recvcheck // the printing methods are a value's, so that a value printed by mistake keeps the key to itself
	// ID is who the process is.
	ID spiffe.ID
	// URI is ID as text, made once.
	URI string
	// Certificate holds the SVID, the intermediates above it and the private key;
	// its Leaf is set.
	Certificate tls.Certificate
	// Bundle is the roots of the trust domain.
	Bundle *spiffe.Bundle
	// NotBefore and NotAfter bound the time in which peers accept the SVID.
	NotBefore, NotAfter time.Time

	// issued is when this process got it, by its own clock. NotBefore lies before
	// that by what the authority allows for clocks that differ, which may be more
	// than the SVID's whole life.
	issued time.Time
}

// A Provider is where identities come from when not from enrolment at xdsserver.
type Provider interface {
	// Run calls publish with each new identity, made by [NewIdentity], until ctx
	// ends. It waits for what is not there yet; an error ends the [Source].
	Run(ctx context.Context, publish func(*Identity)) error
}

// NewIdentity makes an identity of a chain, leaf first and without its root, and
// the key of the leaf. It refuses what no peer would accept at this moment.
func NewIdentity(chain []*x509.Certificate, key crypto.Signer, bundle *spiffe.Bundle) (*Identity, error) {
	i, err := newIdentity(chain, key, bundle)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return i, nil
}

func newIdentity(chain []*x509.Certificate, key crypto.Signer, bundle *spiffe.Bundle) (*Identity, error) {
	if bundle == nil {
		return nil, errors.New("has no trust bundle")
	}
	if key == nil {
		return nil, errors.New("has no private key")
	}
	now := time.Now()
	peer, err := bundle.VerifyAt(chain, now)
	if err != nil {
		return nil, fmt.Errorf("own %w", err)
	}
	leaf := peer.Certificate
	if public, ok := leaf.PublicKey.(interface{ Equal(x crypto.PublicKey) bool }); !ok || !public.Equal(key.Public()) {
		return nil, fmt.Errorf("own certificate of %s is of another key than the private key", peer.URI)
	}
	ders := make([][]byte, len(chain))
	for i, c := range chain {
		ders[i] = c.Raw
	}
	return &Identity{
		ID:          peer.ID,
		URI:         peer.URI,
		Certificate: tls.Certificate{Certificate: ders, PrivateKey: key, Leaf: leaf},
		Bundle:      bundle,
		NotBefore:   leaf.NotBefore,
		NotAfter:    leaf.NotAfter,
		issued:      now,
	}, nil
}

// check reports why i, which a provider made, is none.
func (i *Identity) check() error {
	switch {
	case i == nil:
		return errors.New("identity: the provider published nil")
	case i.Bundle == nil || i.Certificate.Leaf == nil || i.Certificate.PrivateKey == nil || i.URI == "":
		return errors.New("identity: the provider published one that is not made by NewIdentity")
	}
	return nil
}

// withBundle returns the same identity with another bundle.
func (i *Identity) withBundle(bundle *spiffe.Bundle) *Identity {
	c := *i
	c.Bundle = bundle
	return &c
}

// life is for how long the process has the SVID, from when it got it.
func (i *Identity) life() time.Duration { return i.NotAfter.Sub(i.issued) }

func (i *Identity) expired(now time.Time) bool { return now.After(i.NotAfter) }

// Serial returns the SVID's serial number in hexadecimal, as xdsserver's audit log
// has it.
func (i *Identity) Serial() string {
	return hex.EncodeToString(i.Certificate.Leaf.SerialNumber.Bytes())
}

// String leaves the private key out.
func (i Identity) String() string {
	return i.URI + " until " + i.NotAfter.UTC().Format(time.RFC3339)
}

// GoString is String: %#v must not print the private key either.
func (i Identity) GoString() string { return i.String() }

// LogValue implements [slog.LogValuer].
func (i Identity) LogValue() slog.Value { return slog.StringValue(i.String()) }

// chain returns the SVID and the intermediates above it.
func (i *Identity) chain() []*x509.Certificate {
	chain := make([]*x509.Certificate, 0, len(i.Certificate.Certificate))
	for n, der := range i.Certificate.Certificate {
		if n == 0 {
			chain = append(chain, i.Certificate.Leaf)
			continue
		}
		if c, err := x509.ParseCertificate(der); err == nil { // it came out of one
			chain = append(chain, c)
		}
	}
	return chain
}
