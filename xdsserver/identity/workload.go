package identity

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// WorkloadConfig configures a Workload authority.
type WorkloadConfig struct {
	// Address is that of the Workload API, as in "unix:///run/spire/agent.sock";
	// empty means the environment's SPIFFE_ENDPOINT_SOCKET.
	Address string
	// TrustDomain is the one to expect, as in "example.org"; empty takes that of
	// xdsserver's own identity.
	TrustDomain string
	// Logger is told of changes; nil means slog.Default().
	Logger *slog.Logger
}

// Workload is the authority of a mesh whose identities all come from a SPIFFE
// Workload API, such as that of a SPIRE agent. The API must give xdsserver the
// identity spiffe://TRUST-DOMAIN/xdsserver, and services those that mesh/spiffe
// describes. It signs nothing.
type Workload struct {
	board

	client *workloadapi.Client
	logger *slog.Logger
	domain atomic.Pointer[string]

	mu      sync.Mutex
	problem string // of the last update, or empty
}

var _ Authority = (*Workload)(nil)

// NewWorkload waits for the first identity and bundle until ctx ends, and returns
// what was wrong then. The caller closes the Workload, after Run has returned.
func NewWorkload(ctx context.Context, c WorkloadConfig) (*Workload, error) {
	if c.TrustDomain != "" {
		if err := spiffe.CheckTrustDomain(c.TrustDomain); err != nil {
			return nil, fmt.Errorf("identity: WorkloadConfig.TrustDomain: %w", err)
		}
	}
	var options []workloadapi.ClientOption
	if c.Address != "" {
		options = append(options, workloadapi.WithAddr(c.Address))
	}
	client, err := workloadapi.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("identity: workload api: %w", err)
	}
	w := &Workload{client: client, logger: cmp.Or(c.Logger, slog.Default())}
	w.domain.Store(&c.TrustDomain)
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	err = w.client.WatchX509Context(watch, &watcher{ctx: watch, w: w, first: cancel})
	if w.board.trust.Load() != nil {
		return w, nil
	}
	if problem := w.lastProblem(); problem != "" && ctx.Err() != nil {
		err = fmt.Errorf("%s: %w", problem, ctx.Err())
	}
	return nil, errors.Join(fmt.Errorf("identity: workload api: %w", err), client.Close())
}

// watcher hears of updates. An X509Context is one value, so that an identity and
// the bundle of another moment are never mixed.
type watcher struct {
	ctx   context.Context //nolint:containedctx // that of the one call it is made for
	w     *Workload
	first func() // called after each update that was taken; nil in Run
}

// OnX509ContextUpdate implements workloadapi.X509ContextWatcher.
func (h *watcher) OnX509ContextUpdate(x *workloadapi.X509Context) {
	if err := h.w.take(x); err != nil {
		if h.w.setProblem(err.Error()) {
			h.w.logger.Error("what the workload api gives xdsserver cannot be used", "error", err)
		}
		return
	}
	h.w.setProblem("")
	if h.first != nil {
		h.first()
	}
}

// OnX509ContextWatchError implements workloadapi.X509ContextWatcher.
func (h *watcher) OnX509ContextWatchError(err error) {
	// At the start, what was wrong with an answer says more than that the wait for a
	// better one has ended.
	if h.ctx.Err() != nil || h.first != nil && h.w.lastProblem() != "" {
		return
	}
	if h.w.setProblem(fmt.Sprintf("the workload api does not answer: %v", err)) {
		h.w.logger.Warn("workload api does not answer, what it gave before stays", "error", err)
	}
}

// take shows an update, or says why it cannot be.
func (w *Workload) take(x *workloadapi.X509Context) error {
	svid, err := w.pick(x.SVIDs)
	if err != nil {
		return err
	}
	td := svid.ID.TrustDomain()
	set, err := x.Bundles.GetX509BundleForTrustDomain(td)
	if err != nil {
		return err
	}
	bundle, err := spiffe.NewBundle(td.Name(), set.X509Authorities())
	if err != nil {
		return err
	}
	if _, err := bundle.Verify(svid.Certificates); err != nil {
		return err
	}
	_, chains, err := x509svid.Verify(svid.Certificates, set)
	if err != nil {
		return err
	}
	own := &tls.Certificate{PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}
	for _, c := range chains[0] {
		own.Certificate = append(own.Certificate, c.Raw)
	}
	w.board.own.Store(own)
	domain := td.Name()
	w.domain.Store(&domain)
	if w.pin(bundle, time.Time{}) {
		w.logger.Info("trust bundle came from the workload api", "trust_domain", domain, "roots", len(bundle.Roots()))
	}
	return nil
}

// pick finds xdsserver's own identity among those a Workload API gives.
func (w *Workload) pick(svids []*x509svid.SVID) (*x509svid.SVID, error) {
	domain := *w.domain.Load()
	for _, s := range svids {
		id, err := spiffe.ParseID(s.ID.String())
		if err == nil && id.IsServer() && (domain == "" || id.TrustDomain == domain) {
			return s, nil
		}
	}
	want := spiffe.ServerID(cmp.Or(domain, "TRUST-DOMAIN"))
	if len(svids) == 0 {
		return nil, fmt.Errorf("the workload api knows no identity of this process: register %s for it", want)
	}
	return nil, fmt.Errorf("the workload api calls this process %s: register %s for it", svids[0].ID, want)
}

// Kind is "workload-api".
func (w *Workload) Kind() string { return "workload-api" }

// Issue returns a *NotIssuerError.
func (w *Workload) Issue(context.Context, Order) ([][]byte, error) {
	return nil, &NotIssuerError{
		Kind: w.Kind(),
		Do: "have the process take its identity from the Workload API itself: " +
			"set mesh.Config.Identity to workload.New, or SPIFFE_ENDPOINT_SOCKET",
	}
}

// Status implements Authority.
func (w *Workload) Status() Status {
	t := w.Trust()
	own := w.Certificate()
	s := Status{
		Kind:        w.Kind(),
		TrustDomain: *w.domain.Load(),
		Generation:  t.Generation,
		Problem:     w.lastProblem(),
	}
	last := own.Certificate[len(own.Certificate)-1]
	for _, root := range t.Bundle.Roots() {
		c := describe(root)
		if string(root.Raw) == string(last) {
			c.Phase = Active
			s.Roots = append([]Certificate{c}, s.Roots...)
		} else {
			s.Roots = append(s.Roots, c)
		}
	}
	for _, der := range own.Certificate[1 : len(own.Certificate)-1] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			c := describe(cert)
			c.Phase = Active
			s.Intermediates = append(s.Intermediates, c)
		}
	}
	if s.Problem == "" && time.Now().After(own.Leaf.NotAfter) {
		s.Problem = "xdsserver's own certificate has expired: see why the workload api does not renew it"
	}
	return s
}

func (w *Workload) lastProblem() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.problem
}

// setProblem reports whether it is another than before.
func (w *Workload) setProblem(p string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := w.problem != p
	w.problem = p
	return changed
}

// Run implements Authority: it follows the Workload API, which renews and rotates.
func (w *Workload) Run(ctx context.Context) error {
	for {
		// It goes on by itself, but for two codes that an agent which is stopped or
		// misconfigured may send.
		err := w.client.WatchX509Context(ctx, &watcher{ctx: ctx, w: w})
		if ctx.Err() == nil && w.setProblem(fmt.Sprintf("the workload api refuses: %v", err)) {
			w.logger.ErrorContext(ctx, "workload api refuses, what it gave before stays", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(poll):
		}
	}
}

// Close ends the connection to the Workload API.
func (w *Workload) Close() error { return w.client.Close() }
