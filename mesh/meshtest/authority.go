package meshtest

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/enrol"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
	"github.com/tulle-mesh/tulle/xdsserver/telemetry"
)

// Config says what is to be unusual in a mesh. Its zero value is what [New] makes.
type Config struct {
	// TrustDomain of all identities; empty means "tulle.local".
	TrustDomain string
	// LeafTTL, IntermediateTTL and RootTTL are how long certificates live; zero
	// means 24 hours, 30 days and 10 years. Each is at most half of the next.
	LeafTTL, IntermediateTTL, RootTTL time.Duration
	// Servers is how many xdsservers there are, over one state; zero means 1.
	Servers int
}

// An authority is the part of the control plane that outlives its restarts, as its
// folder does for the real one.
type authority struct {
	ca    *identity.CA
	enrol *enrol.Server
	// telemetry outlives the control plane, as the real one's does on its disk.
	telemetry *telemetry.Server
	// trusted knows what members verify by; of the control plane that runs.
	trusted atomic.Pointer[settled]
}

type settled struct {
	control *control
	source  string
}

func newAuthority(tb testing.TB, c Config) *authority {
	tb.Helper()
	logger := slog.New(slog.DiscardHandler)
	a := &authority{telemetry: telemetry.New(telemetry.Config{Identify: reporter, Logger: logger})}
	var err error
	a.ca, err = identity.NewCA(identity.Config{
		TrustDomain:     c.TrustDomain,
		LeafTTL:         c.LeafTTL,
		IntermediateTTL: c.IntermediateTTL,
		RootTTL:         c.RootTTL,
		Acknowledged:    a.acknowledged,
		Logger:          logger,
	})
	if err != nil {
		tb.Fatal(err)
	}
	a.enrol, err = enrol.New(enrol.Config{
		Authority:     a.ca,
		Tokens:        enrol.NewMemoryTokens(),
		TokensAllowed: true,
		LeafTTL:       c.LeafTTL,
		Logger:        logger,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

func (a *authority) acknowledged(ctx context.Context, generation uint64) error {
	s := a.trusted.Load()
	if s == nil {
		return errors.New("meshtest: the control plane is not there")
	}
	return s.control.await(ctx, s.source, generation)
}

// Token returns a join token of a service, "name" or "name.namespace": a line for
// mesh.Config.Token, good for one member, for a day. [Mesh.Join] makes its own.
func (m *Mesh) Token(service string) string {
	m.tb.Helper()
	token, _, err := m.authority.enrol.CreateToken(context.Background(), enrol.TokenRequest{
		Service: service,
		TTL:     24 * time.Hour,
		Address: address(0),
	})
	if err != nil {
		m.tb.Fatal(err)
	}
	return token.Reveal()
}

// RotateRoot replaces the root of all identities, as `xdsserver ca rotate` does. It
// returns when that has begun; members follow by themselves.
func (m *Mesh) RotateRoot() {
	m.tb.Helper()
	if err := m.authority.ca.Rotate(context.Background(), identity.Root); err != nil {
		m.tb.Fatal(err)
	}
}

// Bundle returns what identities of the mesh are verified against at the moment.
func (m *Mesh) Bundle() *spiffe.Bundle { return m.authority.ca.Trust().Bundle }

// whoCalls is the identity that a connection to the control plane proved.
func whoCalls(ctx context.Context) (*spiffe.Peer, error) {
	caller, ok := identity.CallerFromContext(ctx)
	if !ok || caller.Peer == nil {
		return nil, status.Error(codes.Unauthenticated, "meshtest: the connection has no client certificate")
	}
	return caller.Peer, nil
}

func subscriber(ctx context.Context) (serve.Client, error) {
	peer, err := whoCalls(ctx)
	if err != nil {
		return serve.Client{}, err
	}
	c := peer.Certificate
	return serve.Client{
		Service:   peer.Service,
		ID:        peer.URI,
		NotBefore: c.NotBefore,
		NotAfter:  c.NotAfter,
		Serial:    c.SerialNumber.Text(16),
		Issuer:    hex.EncodeToString(c.AuthorityKeyId),
	}, nil
}

func registrant(ctx context.Context) (string, error) {
	peer, err := whoCalls(ctx)
	if err != nil {
		return "", err
	}
	return peer.Service, nil
}

func reporter(ctx context.Context) (service, id string, err error) {
	peer, err := whoCalls(ctx)
	if err != nil {
		return "", "", err
	}
	return peer.Service, peer.URI, nil
}

// Callers returns who called a service of late, as its servers report it every 5
// seconds to the control plane that runs; nil while none does.
func (m *Mesh) Callers(service string) []telemetry.Caller {
	if m.control == nil {
		return nil
	}
	return m.authority.telemetry.Callers(service)
}
