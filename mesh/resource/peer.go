package resource

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/attributes"
)

type peerIDsKey struct{}

// peerIDs is a value of attributes that is equal by content: grpc reconnects
// where the attributes of an address are not Equal to those before.
type peerIDs []string

// Equal is found by attributes.Attributes.
func (p peerIDs) Equal(o any) bool {
	q, ok := o.(peerIDs)
	return ok && slices.Equal(p, q)
}

// String is found by attributes.Attributes, for its logs.
func (p peerIDs) String() string { return strings.Join(p, ", ") }

// WithPeerIDs returns attrs with the identities that may stand at an address, for
// a resolver.Address on its way to the handshake. attrs may be nil; ids must not
// change from then on. Attributes with the same ids, in the same order, are Equal.
func WithPeerIDs(attrs *attributes.Attributes, ids []string) *attributes.Attributes {
	return attrs.WithValue(peerIDsKey{}, peerIDs(ids))
}

// PeerIDsFrom returns what [WithPeerIDs] put into attrs, nil if there is nothing.
// attrs may be nil; the slice must not be changed.
func PeerIDsFrom(attrs *attributes.Attributes) []string {
	ids, _ := attrs.Value(peerIDsKey{}).(peerIDs)
	return ids
}

const (
	spiffeScheme = "spiffe://"
	// maxID is in bytes (SPIFFE-ID standard, section 2.3).
	maxID = 2048
	// maxTrustDomain is in bytes (same, section 2.1).
	maxTrustDomain = 255
)

// checkID reports why id is no SPIFFE id. An identity that cannot be would match
// nobody, which in a rule that denies is a hole.
func checkID(id string) error {
	if len(id) > maxID {
		return fmt.Errorf("%.80q... has %d bytes, at most %d are accepted", id, len(id), maxID)
	}
	rest, ok := strings.CutPrefix(id, spiffeScheme)
	if !ok {
		return fmt.Errorf("%q is no SPIFFE id, as in spiffe://example.org/ns/default/svc/voting", id)
	}
	domain, path, found := strings.Cut(rest, "/")
	if !trustDomainName(domain) {
		return fmt.Errorf("%q: %q is no trust domain", id, domain)
	}
	if !found {
		return nil
	}
	for segment := range strings.SplitSeq(path, "/") {
		if !idSegment(segment) {
			return fmt.Errorf("%q: %q is no segment of a SPIFFE id's path", id, segment)
		}
	}
	return nil
}

// trustDomainName holds for lower-case letters, digits, '.', '-' and '_'.
func trustDomainName(s string) bool {
	if s == "" || len(s) > maxTrustDomain {
		return false
	}
	for i := range len(s) {
		if !idByte(s[i]) || s[i] >= 'A' && s[i] <= 'Z' {
			return false
		}
	}
	return true
}

func idSegment(s string) bool {
	if s == "" || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		if !idByte(s[i]) {
			return false
		}
	}
	return true
}

func idByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_'
}
