package xdsclient

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// maxDetail bounds the text of a NACK, in bytes.
const maxDetail = 16 << 10

// An update is one resource of a response, on its way to be applied.
type update struct {
	name    string
	version string
	content *anypb.Any // nil when the server sent none
	base    *good      // what was held when the response came
	good    *good      // what to hold, unless err
	same    bool       // good has the value of base
	err     error      // why it is refused
}

// handle applies one response, resource by resource, and returns the answer to
// it: an ACK, or a NACK that names each resource refused and why. What is good
// in a response is applied whatever else is in it (gRFC A46). It returns nil for
// a response to nothing that was asked: any answer to it would be the first
// request of its type, which asks for everything.
func (c *Client) handle(s *session, resp *xdsv3.DeltaDiscoveryResponse) *xdsv3.DeltaDiscoveryRequest {
	updates, removed, problems, ok := c.collect(s, resp)
	if !ok {
		c.logStrange(s, resp.GetTypeUrl())
		return nil
	}
	t := c.types[c.index[resp.GetTypeUrl()]]
	for i := range updates {
		updates[i].resolve(t)
	}
	var after effects
	c.apply(s, resp, updates, removed, &after)
	after.run(c.logger)

	req := &xdsv3.DeltaDiscoveryRequest{TypeUrl: t.URL, ResponseNonce: resp.GetNonce()}
	for _, u := range updates {
		if u.err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", resourceText(t.URL, u.name), u.err))
		}
	}
	if len(problems) > 0 {
		c.nacks.Add(1)
		req.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: detail(problems)}
	}
	return req
}

// detail joins problems to a text of bounded length that protobuf can carry.
func detail(problems []string) string {
	var b strings.Builder
	for i, p := range problems {
		if b.Len()+len(p) > maxDetail && i > 0 {
			fmt.Fprintf(&b, "; and %d more", len(problems)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p[:min(len(p), maxDetail)])
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

// collect picks out of a response what somebody is interested in: names nobody
// asked for are passed over, they may be on their way since before the interest
// ended. It reports false for a type nothing was asked of.
func (c *Client) collect(s *session, resp *xdsv3.DeltaDiscoveryResponse) (
	updates []update, removed []string, problems []string, ok bool,
) {
	c.mu.Lock()
	defer c.mu.Unlock()
	typ, ok := c.index[resp.GetTypeUrl()]
	if !ok || !s.asked[typ] {
		return nil, nil, nil, false
	}
	// What is interesting is bounded by the interest, not by what was sent.
	most := min(len(resp.GetResources()), len(c.tables[typ]))
	updates = make([]update, 0, most)
	at := make(map[string]int, most) // of updates, by name
	for i, res := range resp.GetResources() {
		u := newUpdate(res)
		if u.name == "" {
			problems = append(problems, fmt.Sprintf("resource %d of the response has no name", i))
			continue
		}
		// A resource without subscribers is still here until its unsubscription
		// is sent: interest that comes back before that must find the newest.
		r := c.tables[typ][u.name]
		if r == nil {
			continue
		}
		if j, twice := at[u.name]; twice {
			if !updates[j].equal(u) {
				updates[j].err = errors.New("it is twice in the response, with different content")
			}
			continue
		}
		u.base = r.good
		at[u.name] = len(updates)
		updates = append(updates, u)
	}
	for _, name := range removedNames(resp) {
		if c.tables[typ][name] == nil {
			continue
		}
		if _, both := at[name]; both {
			problems = append(problems, resourceText(resp.GetTypeUrl(), name)+": it is both given and removed")
			continue
		}
		removed = append(removed, name)
	}
	return updates, removed, problems, true
}

func newUpdate(res *xdsv3.Resource) update {
	u := update{name: res.GetName(), version: res.GetVersion(), content: res.GetResource()}
	if u.name == "" {
		u.name = res.GetResourceName().GetName()
	}
	return u
}

func (u *update) equal(o update) bool {
	return u.version == o.version && (u.content == nil) == (o.content == nil) &&
		u.content.GetTypeUrl() == o.content.GetTypeUrl() && bytes.Equal(u.content.GetValue(), o.content.GetValue())
}

func removedNames(resp *xdsv3.DeltaDiscoveryResponse) []string {
	names := slices.Clone(resp.GetRemovedResources())
	for _, n := range resp.GetRemovedResourceNames() {
		names = append(names, n.GetName())
	}
	return names
}

// resolve decides what becomes of an update. It decodes only bytes that are not
// held already, and runs without any lock.
func (u *update) resolve(t Type) {
	switch {
	case u.err != nil:
	case u.content == nil && u.base != nil && u.base.version == u.version:
		u.good, u.same = u.base, true // a heartbeat: the version held is still the one
	case u.content == nil:
		u.err = errors.New("it has no content")
	case u.content.GetTypeUrl() != t.URL:
		u.err = fmt.Errorf("its content is a %q", u.content.GetTypeUrl())
	case u.base != nil && bytes.Equal(u.base.bytes, u.content.GetValue()):
		u.good, u.same = &good{value: u.base.value, version: u.version, bytes: u.base.bytes}, true
	default:
		var v any
		if v, u.err = decode(t, u.name, u.content.GetValue()); u.err == nil {
			u.good = &good{value: v, version: u.version, bytes: u.content.GetValue()}
		}
	}
}

// apply brings a response into the resources' states.
func (c *Client) apply(s *session, resp *xdsv3.DeltaDiscoveryResponse, updates []update, removed []string, after *effects) {
	typ := c.index[resp.GetTypeUrl()]
	table := c.tables[typ]
	c.mu.Lock()
	defer c.mu.Unlock()
	c.goLive(s, after)
	for i := range updates {
		u := &updates[i]
		r := table[u.name]
		if r == nil {
			continue // interest has ended meanwhile
		}
		r.answered = true
		c.applyUpdate(r, u, after)
	}
	for _, name := range removed {
		if r := table[name]; r != nil {
			r.answered = true
			c.fault(r, &NotFoundError{Type: resp.GetTypeUrl(), Name: name, Server: s.target}, after)
		}
	}
	for _, e := range resp.GetResourceErrors() {
		c.applyError(s, typ, e, after)
	}
	c.confirmType(s, typ, after)
	c.review(after)
}

// applyUpdate accepts or refuses one resource. c.mu is held.
func (c *Client) applyUpdate(r *resource, u *update, after *effects) {
	if u.err == nil {
		grown := c.held + len(u.good.bytes)
		if r.good != nil {
			grown -= len(r.good.bytes)
		}
		if grown > maxHeld {
			u.err = fmt.Errorf("the client would hold %d bytes, the most is %d", grown, maxHeld)
		}
	}
	typeURL := c.types[r.typ].URL
	if u.err == nil {
		changed := !u.same || r.good != u.base || u.version != u.base.version
		c.accept(r, u.good, u.same && r.used && r.good == u.base, after)
		c.remember(r, changed)
		return
	}
	err := &RejectedError{Type: typeURL, Name: r.name, Version: u.version, Reason: u.err}
	c.fault(r, err, after)
	if text := err.Error(); r.refused != text {
		r.refused = text
		after.log = append(after.log, func(l *slog.Logger) {
			l.Warn("resource refused", "type", typeURL, "name", u.name, "version", u.version, "error", u.err)
		})
	}
}

// applyError notes what the server says is wrong with a resource (xRFC TP3).
// c.mu is held.
func (c *Client) applyError(s *session, typ int, e *xdsv3.ResourceError, after *effects) {
	name := e.GetResourceName().GetName()
	r := c.tables[typ][name]
	if r == nil {
		return
	}
	r.answered = true
	typeURL := c.types[typ].URL
	if e.GetErrorDetail().GetCode() == int32(codes.NotFound) {
		c.fault(r, &NotFoundError{Type: typeURL, Name: name, Server: s.target}, after)
		return
	}
	c.fault(r, &ServerError{Type: typeURL, Name: name, Cause: status.ErrorProto(e.GetErrorDetail())}, after)
}

// confirmType takes the first response of a type as the answer to all that was
// offered of it: what is not in it has not changed. c.mu is held.
func (c *Client) confirmType(s *session, typ int, after *effects) {
	if s.spoken[typ] {
		return
	}
	s.spoken[typ] = true
	for _, r := range c.tables[typ] {
		if r.offered && !r.answered {
			c.confirm(r, after)
		}
	}
}

// logStrange tells once per stream and type of a response nobody asked for; the
// number of types is bounded, because a server could make up new ones for ever.
func (c *Client) logStrange(s *session, typeURL string) {
	const most = 16
	if s.strange[typeURL] || len(s.strange) >= most {
		return
	}
	s.strange[typeURL] = true
	c.logger.Warn("response of a type not asked for ignored", "server", s.target, "type", typeURL)
}
