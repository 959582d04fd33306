package resource

import (
	"strings"

	"google.golang.org/grpc/metadata"
)

// An Access decides which calls a server takes: first what is denied, then what
// is allowed; what nothing allows is denied. It is compiled from the rules of two
// RBAC filters (gRFC A41), immutable and safe for concurrent use. A nil Access
// denies all.
//
// It agrees with grpc-go's RBAC engine, held against it by a differential test,
// on every method that has the canonical form "/service/method"; any other is
// denied here whatever the rules say, since what it names depends on who parses
// it.
type Access struct {
	enforced ruleChain
	// candidate is what would be enforced if what is on trial were; nil for
	// nothing on trial.
	candidate *ruleChain
}

// A Caller is who makes a call.
type Caller struct {
	// ID is the SPIFFE id that the caller's certificate proved, empty for a caller
	// without one. It is only what has been verified.
	ID string
}

// A Decision is what an [Access] says of one call.
type Decision struct {
	Allowed bool
	// Policy is what decided: the name of the policy that matched, or for a call
	// that no policy allows the objects whose policies do not, a few of them. It
	// is empty where there is none: nothing is allowed at all, or the method is
	// not of the form "/service/method".
	Policy string
	// WouldDeny is whether the rules on trial deny the call. They never change
	// Allowed.
	WouldDeny bool
	// WouldPolicy is Policy of the rules on trial; empty where nothing is. A call
	// that is not Allowed, with a WouldPolicy and without WouldDeny, is one that
	// they would allow.
	WouldPolicy string
}

// Decide decides a call of method, as in "/package.Service/Method", with the
// incoming metadata md, whose names are in lower case; nil is none. A nil caller
// is one without an identity.
//
// Its cost does not grow with the policies, as long as they name methods or
// callers one by one: it looks up those that name the method, and those that name
// the caller, and walks the shorter list. It neither locks nor allocates, but to match
// a header that is there more than once by more than its whole value.
func (a *Access) Decide(c *Caller, method string, md metadata.MD) Decision {
	if a == nil {
		return Decision{}
	}
	q := query{method: method, md: md}
	service, canonical := serviceOf(method)
	if !canonical {
		return Decision{WouldDeny: a.candidate != nil}
	}
	q.service = service
	if c != nil {
		q.id = c.ID
	}
	var d Decision
	d.Allowed, d.Policy = a.enforced.decide(&q)
	if a.candidate != nil {
		allowed, policy := a.candidate.decide(&q)
		d.WouldDeny, d.WouldPolicy = !allowed, policy
	}
	return d
}

// ReadsMetadata reports whether a decision may depend on a call's metadata. Where it
// does not, Decide takes nil for it: grpc copies it for whoever asks.
func (a *Access) ReadsMetadata() bool {
	return a != nil && (a.enforced.readsMetadata() || a.candidate != nil && a.candidate.readsMetadata())
}

// ruleChain is the rules of both filters; neither is nil.
type ruleChain struct{ deny, allow *rules }

func (c *ruleChain) readsMetadata() bool {
	return c.deny.readsMetadata || c.allow.readsMetadata
}

func (c *ruleChain) decide(q *query) (allowed bool, policy string) {
	if policy, ok := c.deny.match(q); ok {
		return false, policy
	}
	if policy, ok := c.allow.match(q); ok {
		return true, policy
	}
	return false, c.allow.objects
}

// query is a call as rules look at it.
type query struct {
	method, service string // service is "/service/", the prefix of its methods
	id              string
	md              metadata.MD
}

// serviceOf returns "/service/" of "/service/method", with neither part empty and
// no other slash.
func serviceOf(method string) (service string, canonical bool) {
	if method == "" || method[0] != '/' {
		return "", false
	}
	end := strings.IndexByte(method[1:], '/') + 2
	if end <= 2 || end == len(method) || strings.IndexByte(method[end:], '/') >= 0 {
		return "", false
	}
	return method[:end], true
}
