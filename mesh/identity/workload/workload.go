// Package workload takes the identity of a process from the SPIFFE Workload API,
// as SPIRE's agent and others serve it on a unix socket.
//
// It is for meshes whose identities come from such an authority, which attests
// processes itself; xdsserver then signs nothing:
//
//	config := mesh.FromEnv()
//	config.Identity = workload.New("unix:///run/spire/sockets/agent.sock")
//	m, err := mesh.Join(ctx, config)
//
// It is a package of its own, so that only who imports it links the Workload API's
// client. It does not choose among several identities: the first is the default
// one, as the standard says.
package workload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/tulle-mesh/tulle/mesh/identity"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// retryAfter is the pause before the API is asked again after its client gave up.
const retryAfter = time.Second

// A Provider is an [identity.Provider]. It runs once.
type Provider struct {
	addr string

	mu  sync.Mutex
	err error
}

var _ identity.Provider = (*Provider)(nil)

// New returns the provider of the Workload API at addr, as in
// "unix:///run/spire/sockets/agent.sock"; empty means $SPIFFE_ENDPOINT_SOCKET.
func New(addr string) *Provider { return &Provider{addr: addr} }

// Run implements [identity.Provider]. It waits for an API that does not answer yet,
// and returns an error for an address that can be none.
func (p *Provider) Run(ctx context.Context, publish func(*identity.Identity)) error {
	var opts []workloadapi.ClientOption
	if p.addr != "" {
		opts = append(opts, workloadapi.WithAddr(p.addr))
	}
	client, err := workloadapi.New(ctx, opts...)
	if err != nil {
		return fmt.Errorf("workload api: %w", err)
	}
	defer func() { _ = client.Close() }() // nothing was written
	for {
		err := client.WatchX509Context(ctx, &watcher{provider: p, publish: publish})
		if ctx.Err() != nil {
			return nil
		}
		// The client gives up where the API cancels the stream or finds the request
		// wrong. An agent that is stopped or replaced does that, too.
		p.note(fmt.Errorf("workload api: %w", err))
		timer := time.NewTimer(retryAfter)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Err returns why the API has not given an identity the last time; nil when it has.
func (p *Provider) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *Provider) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// A watcher takes what the API sends.
type watcher struct {
	provider *Provider
	publish  func(*identity.Identity)
}

// OnX509ContextUpdate implements [workloadapi.X509ContextWatcher].
func (w *watcher) OnX509ContextUpdate(c *workloadapi.X509Context) {
	i, err := identityOf(c)
	if err != nil {
		err = fmt.Errorf("workload api: %w", err)
	}
	w.provider.note(err)
	if err == nil {
		w.publish(i)
	}
}

// OnX509ContextWatchError implements [workloadapi.X509ContextWatcher]. The API's
// client tries again by itself.
func (w *watcher) OnX509ContextWatchError(err error) {
	w.provider.note(fmt.Errorf("workload api: %w", err))
}

// identityOf is the default SVID with the bundle of its trust domain.
func identityOf(c *workloadapi.X509Context) (*identity.Identity, error) {
	if len(c.SVIDs) == 0 {
		return nil, errors.New("it has no identity for this process")
	}
	svid := c.DefaultSVID()
	bundle, err := c.Bundles.GetX509BundleForTrustDomain(svid.ID.TrustDomain())
	if err != nil {
		return nil, err
	}
	trust, err := spiffe.NewBundle(svid.ID.TrustDomain().Name(), bundle.X509Authorities())
	if err != nil {
		return nil, err
	}
	return identity.NewIdentity(svid.Certificates, svid.PrivateKey, trust)
}
