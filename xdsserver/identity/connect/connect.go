// Package connect is the authority of a mesh whose certificates Consul's Connect CA
// signs.
//
//	ca, err := connect.New(ctx, connect.Config{Client: client})
//	if err != nil {
//		return err // says what Consul lacks, or refuses
//	}
//	defer ca.Close()
//	err = ca.Run(ctx)
//
// It adopts Consul's trust domain, follows its roots, and hands on the certificate
// requests of processes, whose keys never leave them. Identities are written in
// Consul's form, see mesh/spiffe.Domain. Consul keeps the keys of the authority and
// rotates it; this package sees to it that every process knows a new root and renews.
package connect

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

// Kind is that of the authority.
const Kind = "consul"

const (
	// backDate is how long before it is issued a certificate of Consul's begins.
	backDate = time.Minute
	// retryOwn is the pause after xdsserver's own certificate could not be renewed.
	retryOwn = 10 * time.Second
	// withinKept is how long New waits for Consul where it can do without: as long as for
	// what is applied there.
	withinKept = 5 * time.Second
)

// Config configures a CA.
type Config struct {
	// Client is the connection to Consul. Required.
	Client *consul.Client
	// GRPC is the host:port where a Consul server speaks gRPC; empty is the Client's host
	// at Consul's usual port.
	GRPC string
	// Hosts are names and addresses in xdsserver's own certificate, beside localhost,
	// 127.0.0.1 and ::1.
	Hosts []string
	// File keeps the roots and xdsserver's own certificate and key, for a start while
	// Consul is away; empty keeps nothing. It is of mode 0600.
	File string
	// Logger is told of rotations; nil means slog.Default().
	Logger *slog.Logger
}

// A CA is Consul's authority. It is safe for concurrent use.
type CA struct {
	config Config
	domain spiffe.Domain
	signer *consul.Signer
	logger *slog.Logger
	issued atomic.Uint64
	// now is everything that is shown; one goroutine at a time replaces it, under turn.
	now  atomic.Pointer[view]
	turn sync.Mutex

	problem atomic.Pointer[string]
}

// A view is the authority at one moment. It is immutable.
type view struct {
	roots   consul.ConnectRoots
	trust   *identity.Trust
	changed chan struct{} // closed when there is another trust
	own     *tls.Certificate
}

var _ identity.Authority = (*CA)(nil)

// New asks Consul for its roots and for xdsserver's own certificate; ctx bounds that.
// Where Consul does not answer within 5 seconds it goes by File, if that is good. The
// caller closes the CA, after Run has returned.
func New(ctx context.Context, c Config) (*CA, error) {
	ca := &CA{config: c, logger: cmp.Or(c.Logger, slog.Default())}
	var err error
	if ca.signer, err = c.Client.Signer(c.GRPC); err != nil {
		return nil, err
	}
	known := ca.restore()
	if known != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, withinKept)
		defer cancel()
	}
	err = ca.first(ctx)
	switch {
	case err == nil:
	case known != nil && ca.mayBe(known):
		ca.domain = known.trust.Domain()
		ca.now.Store(known)
		ca.failed(err)
	default:
		return nil, errors.Join(err, ca.signer.Close())
	}
	return ca, nil
}

// mayBe reports whether a view is of the trust domain, as far as Consul has said which
// one that is: another Consul's is nothing to go by.
func (c *CA) mayBe(v *view) bool {
	known := v.trust.Domain()
	return cmp.Or(c.domain.Name, known.Name) == known.Name && cmp.Or(c.domain.Datacenter, known.Datacenter) == known.Datacenter
}

// first waits for the roots, and has xdsserver's own certificate signed.
func (c *CA) first(ctx context.Context) (err error) {
	if c.domain.Datacenter, err = c.config.Client.Where(ctx); err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var roots consul.ConnectRoots
	var failed error
	_ = consul.Follow(watching, c.config.Client, c.config.Client.WatchConnectRoots(func(a consul.Answer[consul.ConnectRoots]) {
		if roots, failed = a.Value, a.Err; failed == nil {
			stop()
		}
	}))
	if len(roots.Roots) == 0 {
		return fmt.Errorf("identity: %w", cmp.Or(failed, ctx.Err()))
	}
	c.domain.Name = roots.TrustDomain
	if err := spiffe.CheckTrustDomain(c.domain.Name); err != nil {
		return fmt.Errorf("identity: consul: %w", err)
	}
	return c.take(ctx, roots)
}

// take shows other roots. xdsserver's own certificate comes first: nobody should be told
// of a root that xdsserver does not prove itself by.
func (c *CA) take(ctx context.Context, roots consul.ConnectRoots) error {
	c.turn.Lock()
	defer c.turn.Unlock()
	before := c.now.Load()
	if before != nil && before.roots.Active == roots.Active && slices.EqualFunc(before.roots.Roots, roots.Roots, bytes.Equal) {
		return nil
	}
	if roots.TrustDomain != c.domain.Name {
		return fmt.Errorf("identity: consul's trust domain is %s now and was %s: start xdsserver again, and let every process join anew",
			roots.TrustDomain, c.domain.Name)
	}
	bundle, err := spiffe.ParseBundle(roots.TrustDomain, roots.Roots)
	if err != nil {
		return fmt.Errorf("identity: consul: %w", err)
	}
	next := &view{roots: roots, trust: &identity.Trust{Bundle: bundle, Generation: 1, Datacenter: c.domain.Datacenter}, changed: make(chan struct{})}
	if before != nil {
		next.own = before.own
		next.trust.Generation = before.trust.Generation + 1
		next.trust.RenewBefore = before.trust.RenewBefore
	}
	if before == nil || before.roots.Active != roots.Active {
		if next.own, err = c.signOwn(ctx, next); err != nil {
			return err
		}
		if before != nil {
			next.trust.RenewBefore = time.Now().UTC().Add(-backDate).Truncate(time.Second)
		}
	}
	c.show(next)
	if before != nil {
		close(before.changed)
		c.logger.Info("consul's authority changed, processes are told", "roots", len(roots.Roots), "active", roots.Active,
			"renew", before.roots.Active != roots.Active)
	}
	return nil
}

// signOwn makes a key and has xdsserver's certificate signed. The chain ends with the
// root, so that a process that has only a token can check its pin.
func (c *CA) signOwn(ctx context.Context, v *view) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("identity: own key: %w", err)
	}
	id, err := url.Parse(c.domain.ServerID())
	if err != nil {
		return nil, fmt.Errorf("identity: own identity: %w", err)
	}
	template := &x509.CertificateRequest{URIs: []*url.URL{id}}
	for _, host := range slices.Concat([]string{"localhost", "127.0.0.1", "::1"}, c.config.Hosts) {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("identity: own certificate: %w", err)
	}
	chain, leaf, err := c.sign(ctx, v, request, &key.PublicKey, id.String())
	if err != nil {
		return nil, fmt.Errorf("%w (xdsserver's own certificate)", err)
	}
	root, err := rootOf(v.trust.Bundle, chain)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: append(chain, root), PrivateKey: key, Leaf: leaf}, nil
}

// sign hands a request to Consul, and looks at what comes back before anybody uses it.
func (c *CA) sign(ctx context.Context, v *view, request []byte, key *ecdsa.PublicKey, id string) ([][]byte, *x509.Certificate, error) {
	ders, err := c.signer.Sign(ctx, request)
	if err != nil {
		return nil, nil, c.explain(err, id)
	}
	chain, err := parseChain(ders)
	if err != nil {
		return nil, nil, fmt.Errorf("identity: consul signed what is no certificate: %w", err)
	}
	peer, err := v.trust.Bundle.Verify(chain)
	if err != nil {
		return nil, nil, fmt.Errorf("identity: consul signed what its roots do not hold for: %w", err)
	}
	if peer.URI != id || !key.Equal(chain[0].PublicKey) {
		return nil, nil, fmt.Errorf("identity: consul signed a certificate of %s instead of %s", peer.URI, id)
	}
	return ders, chain[0], nil
}

// rootOf returns the root that a chain leads to, the active one where it leads to more:
// Consul signs a new root's intermediate by the old root, too.
func rootOf(bundle *spiffe.Bundle, chain [][]byte) ([]byte, error) {
	for _, root := range bundle.Roots() {
		for _, der := range chain {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				return nil, fmt.Errorf("identity: consul: %w", err)
			}
			if c.CheckSignatureFrom(root) == nil {
				return root.Raw, nil
			}
		}
	}
	return nil, errors.New("identity: consul signed a chain that leads to none of its roots")
}
