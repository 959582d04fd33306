package enrol

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/api"
)

const (
	defaultTTL = time.Hour
	maxTTL     = 30 * 24 * time.Hour
	// Beyond these a token is one that is found in an image one day: it must say
	// where it may be used.
	easyTTL, easyUses = 24 * time.Hour, 1
	// maxUses bounds a record, which holds each use and is written whole: 150 KB.
	maxUses  = 1000
	maxCIDRs = 32
	// retryWithin is how long the holder of a redeemed token may come again with
	// the same key: its answer was lost, or xdsserver was.
	retryWithin = 10 * time.Minute
	// keptFor is how long a token that is of no use any more is shown.
	keptFor = 24 * time.Hour
)

// A Token is what is known of a join token; its secret is not.
type Token struct {
	// ID is as in the token's text.
	ID string
	// Service is what a process becomes by it, canonical.
	Service          string
	Created, Expires time.Time
	// Uses is how many keys may be signed by it, Used how many were, Redemptions
	// which.
	Uses, Used  int
	Redemptions []Redemption
	// CIDRs are where it may be used from; empty is anywhere.
	CIDRs   []netip.Prefix
	Revoked bool
}

// A Redemption is one use of a token.
type Redemption struct {
	At   time.Time `json:"at"`
	Peer string    `json:"peer"`
	// Key is the public key that was signed.
	Key Hash `json:"key"`
}

// A Hash is the SHA-256 of a token's secret, or of a public key
// (SubjectPublicKeyInfo). Its text is hexadecimal.
type Hash [sha256.Size]byte

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(h)) {
		return fmt.Errorf("hash has %d characters, want %d", len(text), hex.EncodedLen(len(h)))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// A record is a token as it is stored.
type record struct {
	Service     string         `json:"service"`
	Proof       Hash           `json:"proof"` // of the secret
	Created     time.Time      `json:"created"`
	Expires     time.Time      `json:"expires"`
	Uses        int            `json:"uses"`
	CIDRs       []netip.Prefix `json:"cidrs,omitempty"`
	Revoked     bool           `json:"revoked,omitempty"`
	Redemptions []Redemption   `json:"redemptions,omitempty"`
}

// decode reads a record; nil is no token.
func decode(b []byte) (*record, error) {
	if b == nil {
		return nil, nil
	}
	r := new(record)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("enrol: token record: %w", err)
	}
	// An empty hash is one that no secret has; to be sure, it is no record.
	if r.Service == "" || r.Uses < 1 || r.Expires.IsZero() || r.Proof == (Hash{}) {
		return nil, errors.New("enrol: token record: is not whole")
	}
	return r, nil
}

func (r *record) token(id string) Token {
	return Token{
		ID: id, Service: r.Service, Created: r.Created, Expires: r.Expires, Uses: r.Uses, Used: len(r.Redemptions),
		Redemptions: slices.Clone(r.Redemptions), CIDRs: slices.Clone(r.CIDRs), Revoked: r.Revoked,
	}
}

// admit decides over one redemption at now: nil is yes, and fresh that it must be
// recorded first.
func (r *record) admit(a *applicant, id string, secret [api.TokenSecretSize]byte, now time.Time) (fresh bool, err error) {
	hash := sha256.Sum256(secret[:])
	if subtle.ConstantTimeCompare(hash[:], r.Proof[:]) != 1 {
		return false, errUnknownToken
	}
	create := "create another with 'xdsserver token create --service " + r.Service + "'"
	switch {
	case r.Revoked:
		return false, status.Errorf(codes.PermissionDenied, "enrol: token %s was revoked: %s", id, create)
	case now.After(r.Expires):
		return false, status.Errorf(codes.PermissionDenied, "enrol: token %s expired at %s, %v ago: %s",
			id, stamp(r.Expires), now.Sub(r.Expires).Round(time.Second), create)
	case len(r.CIDRs) > 0 && !slices.ContainsFunc(r.CIDRs, func(p netip.Prefix) bool { return p.Contains(a.addr) }):
		return false, status.Errorf(codes.PermissionDenied, "enrol: token %s may not be used from %s, only from %v: %s", id, a.from, r.CIDRs, create)
	case a.asks != "" && a.asks != r.Service:
		return false, status.Errorf(codes.PermissionDenied, "enrol: token %s is for the service %q, and the process asks to be %q: "+
			"set TULLE_SERVICE to that, or create another with 'xdsserver token create --service %s'", id, r.Service, a.asks, a.asks)
	}
	key := keyHash(a.csr)
	for _, before := range r.Redemptions {
		if before.Key == key {
			if now.Sub(before.At) <= retryWithin {
				return false, nil
			}
			return false, status.Errorf(codes.PermissionDenied, "enrol: token %s was used for this key at %s: renew with the certificate, or %s",
				id, stamp(before.At), create)
		}
	}
	if len(r.Redemptions) >= r.Uses {
		last := r.Redemptions[len(r.Redemptions)-1]
		return false, status.Errorf(codes.PermissionDenied, "enrol: token %s was used at %s by %s: %s", id, stamp(last.At), last.Peer, create)
	}
	return true, nil
}

// errUnknownToken is one answer for two things, so that ids cannot be guessed.
var errUnknownToken = status.Error(codes.PermissionDenied,
	"enrol: the token is not known: it was never created here, or is long used up: create another with 'xdsserver token create'")

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// redeem returns the service that a token makes its holder. What is to be recorded
// is on disk when it returns.
func (s *Server) redeem(a *applicant, text string) (service string, err error) {
	if !s.config.TokensAllowed {
		return "", status.Error(codes.Unauthenticated, "enrol: this xdsserver takes no tokens: start it with --enrol token, or socket,token for both")
	}
	join, err := api.ParseJoinToken(text)
	if err != nil {
		return "", status.Error(codes.InvalidArgument, "enrol: "+err.Error())
	}
	id, now := join.IDText(), time.Now()
	a.token = id
	var (
		refused error
		fresh   bool
	)
	// Read, decided on and written as one: of many who come at once, each sees what
	// the one before it used.
	err = s.config.Tokens.UpdateToken(id, func(old []byte) ([]byte, error) {
		r := s.recordOf(id, old)
		if fresh, refused = r.admit(a, id, join.Secret, now); refused != nil {
			return nil, refused
		}
		service = r.Service
		if !fresh {
			return old, nil
		}
		r.Redemptions = append(r.Redemptions, Redemption{At: now, Peer: a.from, Key: keyHash(a.csr)})
		return json.Marshal(r)
	})
	switch {
	case refused != nil:
		return "", refused
	case err != nil:
		s.config.Logger.Error("token not redeemed, it cannot be recorded", "token", id, "error", err)
		return "", status.Error(codes.Unavailable, "enrol: the use of the token cannot be recorded: is xdsserver's disk full?")
	case fresh:
		s.audit(Entry{Event: eventRedeemed, Identity: s.identityOf(service), Peer: a.from, Instance: a.instance, Token: id})
	}
	return service, nil
}

// recordOf returns the record that a redemption is decided by. Where there is none
// it is a decoy, whose secret nobody has: who guesses ids gets the same answer, by
// the same work.
func (s *Server) recordOf(id string, stored []byte) *record {
	if stored == nil {
		stored = s.decoy
	}
	r, err := decode(stored)
	if err != nil {
		s.config.Logger.Error("token is damaged and of no use", "token", id, "error", err)
		return &record{}
	}
	return r
}

// newDecoy makes the record of no token.
func newDecoy() ([]byte, error) {
	r := &record{Service: "none", Created: time.Now(), Expires: time.Now().Add(maxTTL), Uses: 1}
	_, _ = rand.Read(r.Proof[:]) // it never fails
	return json.Marshal(r)
}

func (s *Server) identityOf(service string) string {
	return s.config.Authority.Trust().Domain().ServiceID(service)
}

// newJoin draws a token's secret.
func newJoin(address string, pin [api.TokenPinSize]byte) api.JoinToken {
	join := api.JoinToken{Address: address, Pin: pin}
	_, _ = rand.Read(join.ID[:]) // it never fails
	join.ID[0] &= 0x7f           // its text begins with a letter: "-2l5ZIaxQOE" is no argument but a flag
	_, _ = rand.Read(join.Secret[:])
	return join
}
