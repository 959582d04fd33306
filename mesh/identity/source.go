package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// Where an identity came from.
const (
	fromState     = "state file"
	fromEnrolment = "enrolment"
	fromRenewal   = "renewal"
	fromProvider  = "provider"
)

// A Source holds the identity of a process and replaces it before it expires. It
// is safe for concurrent use.
type Source struct {
	// Immutable after New.
	config Config
	logger *slog.Logger
	ready  chan struct{} // closed with the first identity
	ended  chan struct{} // closed when Run has returned
	// Each holds one wake-up.
	renew   chan struct{} // SetTrust asked for a renewal
	suspect chan struct{} // xdsserver and this process do not trust each other any more
	keep    chan struct{} // the state file is behind

	current   atomic.Pointer[Identity]
	started   atomic.Bool
	refusals  limiter // of log lines about refused connections
	plain     limiter // of log lines about refused connections without TLS
	plaintext callers

	// mu guards what Status tells and what is asked for. Under it only current is
	// written, and nothing is called back.
	mu      sync.Mutex
	from    string
	renewAt time.Time
	reached time.Time
	err     error
	changed chan struct{} // closed when current is replaced
	// trust is the bundle that SetTrust brought last, trusts how many it brought,
	// seen how many when the keeper last began to ask for an identity.
	trust        *spiffe.Bundle
	trusts, seen uint64
	// asked is the latest RenewBefore, demands how often a renewal was asked for,
	// met the demand that the current identity meets.
	asked        time.Time
	demands, met uint64
}

// New returns a Source without an identity, which [Source.Run] gets. It does no
// I/O.
func New(config Config) (*Source, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Source{
		config:   config,
		logger:   config.Logger,
		ready:    make(chan struct{}),
		ended:    make(chan struct{}),
		renew:    make(chan struct{}, 1),
		suspect:  make(chan struct{}, 1),
		keep:     make(chan struct{}, 1),
		changed:  make(chan struct{}),
		refusals: limiter{every: time.Second},
		plain:    limiter{every: time.Minute},
	}, nil
}

// Run gets an identity and keeps it fresh until ctx ends; only then it returns
// nil. It returns an error at once where there never can be an identity, because
// the Config has no way to prove to any server who the process is, and when the
// Provider does. It is called once.
//
// conn is a connection to xdsserver that is made with ControlCredentials; renewals
// go over it. Run does not close it. With nil, an identity is renewed by enrolling
// again. A Provider needs none.
func (s *Source) Run(ctx context.Context, conn grpc.ClientConnInterface) error {
	if s.started.Swap(true) {
		return errors.New("identity: Source.Run is called a second time")
	}
	err := s.run(ctx, conn)
	if ctx.Err() != nil {
		err = nil
	}
	if err != nil {
		s.note(err)
	}
	close(s.ended)
	return err
}

func (s *Source) run(ctx context.Context, conn grpc.ClientConnInterface) error {
	if s.config.Provider != nil {
		return s.config.Provider.Run(ctx, s.provided)
	}
	k := newKeeper(s, conn)
	k.restore()
	group, ctx := errgroup.WithContext(ctx)
	done := make(chan struct{})
	group.Go(func() error {
		defer close(done)
		return k.run(ctx)
	})
	group.Go(func() error { return s.keepState(done) })
	return group.Wait()
}

// provided takes an identity from the provider.
func (s *Source) provided(i *Identity) {
	if err := i.check(); err != nil {
		s.note(err)
		s.logger.Error("the provider's identity is ignored", "error", err)
		return
	}
	if i.ID.Service != s.config.Service && s.config.Service != ClientService {
		s.logger.Warn("the provider's identity is of another service than the process", "identity", i, "service", s.config.Service)
	}
	s.mu.Lock()
	s.publish(i, fromProvider)
	s.mu.Unlock()
	s.logger.Info("identity", "identity", i, "serial", i.Serial(), "from", fromProvider)
}

// publish makes i the current identity. s.mu is held.
func (s *Source) publish(i *Identity, from string) {
	s.from, s.err = from, nil
	if s.current.Load() == nil {
		defer close(s.ready)
	}
	s.replace(i)
}

// replace makes i the current identity and says so. s.mu is held.
func (s *Source) replace(i *Identity) {
	s.current.Store(i)
	close(s.changed)
	s.changed = make(chan struct{})
}

// Changed returns a channel that is closed when the current identity is replaced by
// another, or gets another bundle. Call it before Current, so that nothing is
// missed, and again after the channel is closed.
func (s *Source) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Current returns the identity of the moment; nil before the first. It may have
// expired.
func (s *Source) Current() *Identity { return s.current.Load() }

// Wait returns the identity of the moment, and waits for the first. Its error says
// why there is none, and wraps that of ctx where ctx ended.
func (s *Source) Wait(ctx context.Context) (*Identity, error) {
	if i := s.Current(); i != nil {
		return i, nil
	}
	select {
	case <-s.ready:
		return s.Current(), nil
	case <-s.ended:
		if why := s.why(); why != nil {
			return nil, fmt.Errorf("identity: service %s has none: %w", s.config.Service, why)
		}
		return nil, fmt.Errorf("identity: service %s has none, and nothing gets it one any more", s.config.Service)
	case <-ctx.Done():
		if why := s.why(); why != nil {
			return nil, fmt.Errorf("identity: service %s has none yet (%w): %w", s.config.Service, ctx.Err(), why)
		}
		return nil, fmt.Errorf("identity: service %s has none yet: %w", s.config.Service, ctx.Err())
	}
}

// SetTrust takes a new bundle, as xdsserver serves it. One of another trust domain
// is ignored; so is every one where a Provider brings the bundle with the identity.
// It asks for a renewal, soon, where the bundle's RenewBefore does or where peers
// with that bundle would refuse the current identity.
func (s *Source) SetTrust(t *resource.TrustBundle) {
	if t == nil || s.config.Provider != nil {
		return
	}
	bundle, err := spiffe.NewBundle(t.TrustDomain, t.Authorities)
	if err != nil {
		s.logger.Warn("trust bundle ignored", "error", err)
		return
	}
	i, demand := s.setTrust(bundle, t.RenewBefore)
	switch {
	case i == nil:
		s.logger.Warn("trust bundle ignored: the process is not of its trust domain", "bundle", t.TrustDomain)
		return
	case demand:
		s.logger.Info("identity is asked to be renewed", "identity", i, "before", t.RenewBefore)
		wake(s.renew)
	}
	wake(s.keep)
}

// setTrust returns the identity with the bundle, nil where it does not fit, and
// whether a renewal is asked for.
func (s *Source) setTrust(bundle *spiffe.Bundle, renewBefore time.Time) (*Identity, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.current.Load()
	if old == nil || old.ID.TrustDomain != bundle.TrustDomain() {
		return nil, false
	}
	i := old
	if !old.Bundle.Equal(bundle) {
		i = old.withBundle(bundle)
		s.replace(i)
	}
	s.trust = bundle
	s.trusts++
	s.reached = time.Now()
	demand := false
	if renewBefore.After(s.asked) {
		s.asked = renewBefore
		// NotBefore is the authority's clock, as RenewBefore is. It lies before the
		// moment of issue, so that at worst an identity is renewed that need not be.
		demand = i.NotBefore.Before(renewBefore)
	}
	if i != old && !i.expired(time.Now()) {
		if _, err := bundle.Verify(i.chain()); err != nil {
			demand = true
		}
	}
	if demand {
		s.demands++
	}
	return i, demand
}

// note keeps why an attempt failed.
func (s *Source) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// touch keeps that xdsserver has just proved who it is.
func (s *Source) touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reached = time.Now()
}

// why returns the error of the last attempt.
func (s *Source) why() error {
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if err == nil {
		if p, ok := s.config.Provider.(interface{ Err() error }); ok {
			err = p.Err()
		}
	}
	return err
}

// wake leaves one wake-up in a channel that holds one.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
