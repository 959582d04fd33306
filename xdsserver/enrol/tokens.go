package enrol

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/api"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

// A TokenStore keeps records of tokens over a restart. It is safe for concurrent
// use.
type TokenStore interface {
	// Tokens returns all records by id. They are not changed.
	Tokens() (map[string][]byte, error)
	// UpdateToken replaces the record of one id by what change makes of it, nil
	// where there is none; change returning nil removes it. Nobody else's change comes
	// in between. A store of several machines finds that out when it writes, and calls
	// change again with the newer record: it must decide by its argument alone, and what
	// it says elsewhere is that of its last call. When UpdateToken returns nil, what
	// change returned is kept and survives any crash, also if that is the old record; an
	// error of change is returned as it is, and nothing has changed.
	UpdateToken(id string, change func(old []byte) ([]byte, error)) error
}

// A TokenRequest says what a token is to be.
type TokenRequest struct {
	// Service is what a process becomes by it, "name" or "name.namespace".
	Service string
	// TTL is how long it may be used: zero means an hour, 30 days are the most.
	TTL time.Duration
	// Uses is how many processes may join by it; zero means one.
	Uses int
	// CIDRs are where it may be used from; required with more than one use, or
	// over a day.
	CIDRs []netip.Prefix
	// Address is the host:port of the mesh port as the process reaches it.
	Address string
}

// CreateToken makes a token. The secret is in the JoinToken alone; what is kept is
// its hash. Errors are gRPC statuses.
func (s *Server) CreateToken(_ context.Context, req TokenRequest) (api.JoinToken, Token, error) {
	req.TTL, req.Uses = cmp.Or(req.TTL, defaultTTL), cmp.Or(req.Uses, 1)
	if err := s.checkToken(req); err != nil {
		return api.JoinToken{}, Token{}, err
	}
	join := newJoin(req.Address, identity.TokenPin(s.config.Authority))
	now := time.Now()
	r := &record{
		Service: req.Service, Proof: sha256.Sum256(join.Secret[:]),
		Created: now, Expires: now.Add(req.TTL), Uses: req.Uses, CIDRs: slices.Clone(req.CIDRs),
	}
	b, err := json.Marshal(r)
	if err != nil {
		return api.JoinToken{}, Token{}, status.Errorf(codes.Internal, "enrol: token: %v", err)
	}
	s.clean(now)
	if err := s.config.Audit.Append(Entry{Event: eventCreated, Identity: s.identityOf(r.Service), Token: join.IDText()}); err != nil {
		return api.JoinToken{}, Token{}, status.Errorf(codes.Unavailable, "enrol: no token was created: %v", err)
	}
	err = s.config.Tokens.UpdateToken(join.IDText(), func(old []byte) ([]byte, error) {
		if old != nil {
			return nil, errors.New("its id is taken: try again")
		}
		return b, nil
	})
	if err != nil {
		return api.JoinToken{}, Token{}, status.Errorf(codes.Unavailable, "enrol: no token was created: %v", err)
	}
	return join, r.token(join.IDText()), nil
}

func (s *Server) checkToken(req TokenRequest) error {
	if !s.config.TokensAllowed {
		return status.Error(codes.FailedPrecondition, "enrol: this xdsserver takes no tokens: start it with --enrol token, or socket,token for both")
	}
	id, err := spiffe.ParseID(spiffe.ServiceID("tulle.local", req.Service))
	if err != nil || id.Service != req.Service {
		return status.Errorf(codes.InvalidArgument, "enrol: service %.80q: want a name as in voting, or voting.shop", req.Service)
	}
	host, port, err := net.SplitHostPort(req.Address)
	if err != nil || host == "" || port == "" {
		return status.Errorf(codes.InvalidArgument, "enrol: address %.80q: want the HOST:PORT by which the process reaches the mesh port", req.Address)
	}
	switch {
	case req.TTL < 0 || req.TTL > maxTTL:
		return status.Errorf(codes.InvalidArgument, "enrol: ttl %v: want up to %v", req.TTL, maxTTL)
	case req.Uses < 0 || req.Uses > maxUses:
		return status.Errorf(codes.InvalidArgument, "enrol: uses %d: want 1 to %d", req.Uses, maxUses)
	case len(req.CIDRs) > maxCIDRs:
		return status.Errorf(codes.InvalidArgument, "enrol: %d networks, %d are the most", len(req.CIDRs), maxCIDRs)
	case slices.ContainsFunc(req.CIDRs, unusable):
		return status.Errorf(codes.InvalidArgument, "enrol: networks %v: want each as in 10.0.0.0/8 or 2001:db8::/32", req.CIDRs)
	case len(req.CIDRs) == 0 && (req.TTL > easyTTL || req.Uses > easyUses):
		return status.Errorf(codes.InvalidArgument, "enrol: a token that is good for more than one process, or for more than %v, "+
			"must say where it may be used: add --cidr, as in --cidr 10.0.0.0/8", easyTTL)
	}
	return nil
}

// unusable reports whether no peer's address, which is never IPv4 in IPv6, can be in p.
func unusable(p netip.Prefix) bool { return !p.IsValid() || p.Addr().Is4In6() }

// ListTokens returns the tokens that may still be used, and those of the last day
// that may not, the newest first.
func (s *Server) ListTokens() ([]Token, error) {
	all, err := s.config.Tokens.Tokens()
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "enrol: tokens cannot be read: %v", err)
	}
	tokens := make([]Token, 0, len(all))
	for id, b := range all {
		if r, err := decode(b); err == nil && r != nil && !r.stale(time.Now()) {
			tokens = append(tokens, r.token(id))
		}
	}
	slices.SortFunc(tokens, func(a, b Token) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID)) })
	return tokens, nil
}

// RevokeToken makes a token useless; NOT_FOUND when there is none of that id. Who
// joined by it stays.
func (s *Server) RevokeToken(id string) error {
	unknown := status.Errorf(codes.NotFound, "enrol: no token has the id %.40q: 'xdsserver token list' shows all", id)
	service := ""
	err := s.config.Tokens.UpdateToken(id, func(old []byte) ([]byte, error) {
		service = ""
		r, err := decode(old)
		if err != nil {
			return nil, err
		}
		if r == nil {
			return nil, unknown
		}
		service, r.Revoked = r.Service, true
		return json.Marshal(r)
	})
	if service == "" && status.Code(err) == codes.NotFound {
		return unknown
	}
	if err != nil {
		return status.Errorf(codes.Unavailable, "enrol: the token is not revoked: %v", err)
	}
	s.audit(Entry{Event: eventRevoked, Identity: s.identityOf(service), Token: id})
	return nil
}

// stale reports whether the token has been of no use for a day.
func (r *record) stale(now time.Time) bool {
	since := r.Expires
	if n := len(r.Redemptions); n >= r.Uses {
		since = r.Redemptions[n-1].At
	}
	return now.Sub(since) > keptFor
}

// clean removes stale tokens. A used-up token may go: an unknown one is refused as
// well.
func (s *Server) clean(now time.Time) {
	all, err := s.config.Tokens.Tokens()
	if err != nil {
		return
	}
	for id, b := range all {
		if r, err := decode(b); err != nil || r == nil || !r.stale(now) {
			continue
		}
		// What is stale stays so: no use can have come since.
		if err := s.config.Tokens.UpdateToken(id, func([]byte) ([]byte, error) { return nil, nil }); err != nil {
			s.config.Logger.Warn("token of no use is not removed", "token", id, "error", err)
			return
		}
	}
}

// memoryTokens is a TokenStore without a disk.
type memoryTokens struct {
	mu      sync.Mutex
	records map[string][]byte
}

// NewMemoryTokens returns a TokenStore that forgets with the process, for tests.
func NewMemoryTokens() TokenStore { return &memoryTokens{records: make(map[string][]byte)} }

func (m *memoryTokens) Tokens() (map[string][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.records), nil
}

func (m *memoryTokens) UpdateToken(id string, change func(old []byte) ([]byte, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := change(m.records[id])
	switch {
	case err != nil:
		return err
	case b == nil:
		delete(m.records, id)
	default:
		m.records[id] = b
	}
	return nil
}
