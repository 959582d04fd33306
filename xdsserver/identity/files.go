package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// filesPoll is how often the files are looked at. They are replaced a day before they
// expire; a notification would save nothing but three small reads.
const filesPoll = 5 * time.Second

// FilesConfig configures a Files authority.
type FilesConfig struct {
	// TrustDomain is as in "example.org". Required.
	TrustDomain string
	// Certificate is a PEM file with the issuing CA's certificate, followed by those
	// between it and the root, if there are any (cert-manager's tls.crt). Required.
	Certificate string
	// Key is a PEM file with the issuing CA's private key (tls.key). Required.
	Key string
	// Bundle is a PEM file with one or more roots (ca.crt). Required.
	Bundle string
	// LeafTTL is how long a certificate is valid; zero means 24 h. None outlives
	// the issuing CA.
	LeafTTL time.Duration
	// Hosts are as in Config.
	Hosts []string
	// Logger is told of changes, and why one is not taken; nil means slog.Default().
	Logger *slog.Logger
}

// Files is an authority that signs with a CA which somebody else keeps in files.
//
// Run looks at the files every 5 seconds. They are taken together: a certificate
// whose key or root has not come yet, or that is damaged, changes nothing, and
// Status says what is wrong with it.
type Files struct {
	board

	config FilesConfig
	logger *slog.Logger
	issuer atomic.Pointer[material]
	issued atomic.Uint64

	mu      sync.Mutex
	problem string // of what is in the files now, or empty
}

var _ Authority = (*Files)(nil)

// NewFiles reads the files once, and fails when they are of no use.
func NewFiles(c FilesConfig) (*Files, error) {
	c.LeafTTL = cmp.Or(c.LeafTTL, 24*time.Hour)
	if err := spiffe.CheckTrustDomain(c.TrustDomain); err != nil {
		return nil, fmt.Errorf("identity: FilesConfig.TrustDomain: %w", err)
	}
	for name, path := range map[string]string{"Certificate": c.Certificate, "Key": c.Key, "Bundle": c.Bundle} {
		if path == "" {
			return nil, fmt.Errorf("identity: FilesConfig.%s: name a file", name)
		}
	}
	if c.LeafTTL < time.Second {
		return nil, fmt.Errorf("identity: FilesConfig.LeafTTL is %v, want a second at least", c.LeafTTL)
	}
	if err := checkHosts(c.Hosts); err != nil {
		return nil, err
	}
	f := &Files{config: c, logger: cmp.Or(c.Logger, slog.Default())}
	if _, err := f.look(); err != nil {
		return nil, err
	}
	return f, nil
}

// look takes up what is in the files, if it is new, and reports whether it was.
func (f *Files) look() (bool, error) {
	prev := f.issuer.Load()
	m, err := readMaterial(f.config, prev)
	if err != nil || m == prev {
		return false, err
	}
	// xdsserver's own certificate is the trial: what it cannot be verified by,
	// no leaf can.
	own, err := m.own(f.config)
	if err != nil {
		return false, err
	}
	var renewBefore time.Time
	if prev != nil && !prev.root.Equal(m.root) {
		renewBefore = time.Now().UTC().Add(-backDate).Truncate(time.Second)
	}
	f.board.own.Store(own)
	f.issuer.Store(m)
	f.pin(m.bundle, renewBefore)
	return true, nil
}

// Kind is "files".
func (f *Files) Kind() string { return "files" }

// Issue implements Authority.
func (f *Files) Issue(ctx context.Context, order Order) ([][]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := order.check(f.config.TrustDomain); err != nil {
		return nil, err
	}
	m := f.issuer.Load()
	leaf, err := signing{now: time.Now(), ttl: f.config.LeafTTL, key: order.Key, issuer: m.cert, signer: m.signer}.leaf(order.ID)
	if err != nil {
		return nil, fmt.Errorf("%w: %s was not replaced in time", err, f.config.Certificate)
	}
	f.issued.Add(1)
	chain := [][]byte{leaf.Raw}
	for _, c := range m.intermediates {
		chain = append(chain, c.Raw)
	}
	return chain, nil
}

// Run implements Authority: it follows the files, and renews xdsserver's own
// certificate.
func (f *Files) Run(ctx context.Context) error {
	tick := time.NewTicker(filesPoll)
	defer tick.Stop()
	suspect := "" // seen once: files that are replaced one by one do not fit for a moment
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		taken, err := f.look()
		if err == nil && !taken {
			err = f.renewOwn()
		}
		switch {
		case err == nil:
			suspect = ""
			f.setProblem("")
			if taken {
				m := f.issuer.Load()
				f.logger.InfoContext(ctx, "issuing certificate read from its files", "path", f.config.Certificate,
					"not_after", m.cert.NotAfter, "roots", len(m.bundle.Roots()))
			}
		case suspect != err.Error():
			suspect = err.Error()
		case f.setProblem(suspect):
			f.logger.ErrorContext(ctx, "issuing certificate in its files cannot be used, the one before stays", "error", err)
		}
	}
}

// setProblem reports whether it is another than before.
func (f *Files) setProblem(p string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed := f.problem != p
	f.problem = p
	return changed
}

func (f *Files) renewOwn() error {
	if time.Now().Before(halfLife(f.Certificate().Leaf)) {
		return nil
	}
	own, err := f.issuer.Load().own(f.config)
	if err != nil {
		return err
	}
	f.board.own.Store(own)
	return nil
}

// Status implements Authority. The phases of roots that the issuing certificate
// does not lead to are not known.
func (f *Files) Status() Status {
	m, t := f.issuer.Load(), f.Trust()
	s := Status{
		Kind:        f.Kind(),
		TrustDomain: f.config.TrustDomain,
		Generation:  t.Generation,
		RenewBefore: t.RenewBefore,
		LeafTTL:     f.config.LeafTTL,
		Issued:      f.issued.Load(),
		IssuesUntil: m.cert.NotAfter,
	}
	f.mu.Lock()
	s.Problem = f.problem
	f.mu.Unlock()
	if s.Problem == "" && time.Now().Add(f.config.LeafTTL).After(m.cert.NotAfter) {
		s.Problem = fmt.Sprintf("the issuing certificate in %s ends at %s, before what is issued now should: see why it is not replaced",
			f.config.Certificate, m.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	for _, root := range m.bundle.Roots() {
		c := describe(root)
		if root.Equal(m.root) {
			c.Phase = Active
			c.Online = m.cert.Equal(root)
			s.RootOnline = c.Online
			s.Roots = append([]Certificate{c}, s.Roots...)
		} else {
			s.Roots = append(s.Roots, c)
		}
	}
	for i, cert := range m.intermediates {
		c := describe(cert)
		c.Phase, c.Online = Active, i == 0
		s.Intermediates = append(s.Intermediates, c)
	}
	return s
}

var errChain = errors.New("holds more than 2 certificates below the root: peers verify 4 in a chain, with leaf and root")
