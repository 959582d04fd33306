package enrol

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

// Config configures a Server. Authority is required.
type Config struct {
	// Authority signs what is attested.
	Authority identity.Authority
	// Tokens keeps join tokens; nil keeps them in memory.
	Tokens TokenStore
	// Issuers are those whose OIDC tokens attest a process.
	Issuers []*Issuer
	// Socket lets processes of this machine enrol by the kernel's word.
	Socket bool
	// TokensAllowed lets processes enrol with a token.
	TokensAllowed bool
	// Audit is where decisions are written; nil writes none, for tests.
	Audit *Audit
	// LeafTTL is how long certificates live, for the limit of renewals; zero means
	// what the authority says, and 24 hours where it says nothing.
	LeafTTL time.Duration
	// Logger takes what an operator should know; nil means slog.Default().
	Logger *slog.Logger
}

// A Server enrols processes. It is safe for concurrent use.
type Server struct {
	identityv1.UnimplementedIdentityServiceServer

	config Config
	limits *limits
	decoy  []byte // the record of a token that is not known
}

var _ identityv1.IdentityServiceServer = (*Server)(nil)

// New makes a Server. It starts nothing.
func New(c Config) (*Server, error) {
	if c.Authority == nil {
		return nil, errors.New("enrol: no authority: set Config.Authority")
	}
	if c.Tokens == nil {
		c.Tokens = NewMemoryTokens()
	}
	c.LeafTTL = cmp.Or(c.LeafTTL, c.Authority.Status().LeafTTL, 24*time.Hour)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	decoy, err := newDecoy()
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	return &Server{config: c, limits: newLimits(c.LeafTTL), decoy: decoy}, nil
}
