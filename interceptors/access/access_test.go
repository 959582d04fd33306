package access

import (
	"context"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/tulle-mesh/tulle/interceptors/access/accesstest"
	"github.com/tulle-mesh/tulle/mesh/identity"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

const (
	web    = "spiffe://tulle.local/ns/default/svc/web"
	emoji  = "spiffe://tulle.local/ns/shop/svc/emoji"
	vote   = "/voting.v1.Voting/Vote"
	others = "/voting.v1.Voting/Count"
)

var host = &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 4711}

// from is a caller whose certificate is good for another hour.
func from(tb testing.TB, id string) *Caller {
	tb.Helper()
	if id == "" {
		return &Caller{Addr: host}
	}
	parsed, err := spiffe.ParseID(id)
	if err != nil {
		tb.Fatal(err)
	}
	return &Caller{
		Peer: &spiffe.Peer{ID: parsed, URI: id, Certificate: &x509.Certificate{NotAfter: time.Now().Add(time.Hour)}},
		Addr: host,
	}
}

// contextOf is that of a call by the caller, with metadata.
func contextOf(ctx context.Context, c *Caller, md ...string) context.Context {
	if len(md) > 0 {
		ctx = metadata.NewIncomingContext(ctx, metadata.Pairs(md...))
	}
	return peer.NewContext(ctx, &peer.Peer{Addr: c.Addr, AuthInfo: identity.AuthInfo{Peer: c.Peer}})
}

func TestTheCallerIsWhoTheConnectionProved(t *testing.T) {
	c := from(t, web)
	if got := CallerOf(contextOf(t.Context(), c)); got.Peer != c.Peer || got.Addr != c.Addr {
		t.Errorf("got %+v, want %+v", got, c)
	}
	if got := CallerOf(t.Context()); got.Peer != nil || got.Addr != nil {
		t.Errorf("without a peer: %+v", got)
	}
	plain := peer.NewContext(t.Context(), &peer.Peer{Addr: host})
	if got := CallerOf(plain); got.Peer != nil || got.host() != "10.0.0.7" {
		t.Errorf("of other credentials: %+v", got)
	}
}

func TestDecideAndWhatTheCallerIsTold(t *testing.T) {
	allow := accesstest.Rules{Allow: map[string]accesstest.Rule{"default/voting/allow/0": {From: web, Method: vote}}}
	deny := accesstest.Rules{
		Allow: map[string]accesstest.Rule{"mesh/default": {From: accesstest.Anyone}},
		Deny:  map[string]accesstest.Rule{"shop/strict/deny/2": {From: emoji}},
	}
	expired := from(t, web)
	expired.Peer.Certificate.NotAfter = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	other := from(t, "spiffe://tulle.local/batch/7")
	for _, tt := range []struct {
		name   string
		rules  accesstest.Rules
		until  time.Time // permissive
		caller *Caller
		method string
		md     []string
		want   string // of the denial; empty for an allowed call
		code   codes.Code
	}{
		{
			name:  "a rule that allows it lets a call pass",
			rules: allow, caller: from(t, web), method: vote,
		},
		{
			name:  "a policy that allows other callers names itself",
			rules: allow, caller: from(t, emoji), method: vote, code: codes.PermissionDenied,
			want: `mesh: spiffe://tulle.local/ns/shop/svc/emoji may not call /voting.v1.Voting/Vote of voting: ` +
				`no rule of policy "voting" allows it; try: xdsserver authz voting --from emoji.shop --method /voting.v1.Voting/Vote`,
		},
		{
			name:  "an identity that is no service is named in full",
			rules: allow, caller: other, method: vote, code: codes.PermissionDenied,
			want: `mesh: spiffe://tulle.local/batch/7 may not call /voting.v1.Voting/Vote of voting: no rule of policy "voting" allows it; ` +
				`try: xdsserver authz voting --from spiffe://tulle.local/batch/7 --method /voting.v1.Voting/Vote`,
		},
		{
			name:  "a rule that denies names itself",
			rules: deny, caller: from(t, emoji), method: vote, code: codes.PermissionDenied,
			want: `mesh: spiffe://tulle.local/ns/shop/svc/emoji may not call /voting.v1.Voting/Vote of voting: ` +
				`rule 2 in the deny list of policy "strict.shop" forbids it; try: xdsserver authz voting --from emoji.shop --method /voting.v1.Voting/Vote`,
		},
		{
			name:   "several policies are named",
			rules:  accesstest.Rules{Allow: map[string]accesstest.Rule{"default/a/allow/0": {From: web}, "shop/b/allow/0": {From: web}}},
			caller: from(t, emoji), method: vote, code: codes.PermissionDenied,
			want: `mesh: spiffe://tulle.local/ns/shop/svc/emoji may not call /voting.v1.Voting/Vote of voting: ` +
				`no rule of policies "a", "b.shop" allows it; try: xdsserver authz voting --from emoji.shop --method /voting.v1.Voting/Vote`,
		},
		{
			name:   "nothing is allowed where nothing says so",
			caller: from(t, web), method: vote, code: codes.PermissionDenied,
			want: `mesh: spiffe://tulle.local/ns/default/svc/web may not call /voting.v1.Voting/Vote of voting: ` +
				`no policy allows it; try: xdsserver authz voting --from web --method /voting.v1.Voting/Vote`,
		},
		{
			name:  "a method of another form is nobody's",
			rules: deny, caller: from(t, web), method: "/a/b/c", code: codes.PermissionDenied,
			want: `mesh: spiffe://tulle.local/ns/default/svc/web may not call /a/b/c of voting: ` +
				`no policy allows it; try: xdsserver authz voting --from web --method /a/b/c`,
		},
		{
			name:   "a rule about metadata is given the call's",
			rules:  accesstest.Rules{Allow: map[string]accesstest.Rule{"a/b/allow/0": {Header: "x-canary"}}},
			caller: from(t, web), method: vote, md: []string{"x-canary", "yes"},
		},
		{
			name:  "an expired certificate proves nobody",
			rules: deny, caller: expired, method: vote, code: codes.Unauthenticated,
			want: `mesh: the certificate of spiffe://tulle.local/ns/default/svc/web expired at 2026-01-02T03:04:05Z: ` +
				`voting takes no more calls by it; try: xdsserver check: why the caller did not renew it is in the caller's log`,
		},
		{
			name:  "a caller without an identity is let in while that is permitted, and allowed",
			rules: accesstest.Rules{Allow: map[string]accesstest.Rule{"mesh/default": {}}},
			until: time.Now().Add(time.Minute), caller: from(t, ""), method: vote,
		},
		{
			name:  "and denied where it is not allowed",
			rules: deny, until: time.Now().Add(time.Minute), caller: from(t, ""), method: vote, code: codes.PermissionDenied,
			want: `mesh: the caller at 10.0.0.7 may not call /voting.v1.Voting/Vote of voting: ` +
				`the mesh's default allows callers with an identity only; try: xdsserver authz voting --method /voting.v1.Voting/Vote`,
		},
		{
			name:  "it is refused once that time is over",
			rules: accesstest.Rules{Allow: map[string]accesstest.Rule{"mesh/default": {}}},
			until: time.Now().Add(-time.Minute), caller: from(t, ""), method: vote, code: codes.Unauthenticated,
			want: `mesh: voting takes no calls without an identity any more, and the caller at 10.0.0.7 has none; ` +
				`try: mesh.NewClient in the caller, or mtls: {mode: permissive, until: ...} in the Service voting`,
		},
		{
			name:   "and where there never was one",
			rules:  accesstest.Rules{Allow: map[string]accesstest.Rule{"mesh/default": {}}},
			caller: &Caller{}, method: vote, code: codes.Unauthenticated,
			want: `mesh: voting takes no calls without an identity any more, and a caller without an identity has none; ` +
				`try: mesh.NewClient in the caller, or mtls: {mode: permissive, until: ...} in the Service voting`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := accesstest.Inbound(t, tt.rules)
			in.Listener.Server.PermissiveUntil = tt.until
			v := Decide(contextOf(t.Context(), tt.caller, tt.md...), in, tt.caller, tt.method, time.Now())
			if v.Allowed != (tt.want == "") {
				t.Fatalf("verdict = %+v", v)
			}
			if tt.want == "" {
				return
			}
			err := Denied("voting", tt.caller, tt.method, &v)
			if err.Error() != tt.want || err.Code != tt.code {
				t.Errorf("got  %v %s\nwant %v %s", err.Code, err, tt.code, tt.want)
			}
		})
	}
}

func TestNobodyIsLetInByAPolicyThatIsNotThere(t *testing.T) {
	for name, in := range map[string]*resource.Inbound{
		"no inbound":  nil,
		"no listener": {},
		"no server":   {Listener: &resource.Listener{}},
		"no routes":   {Listener: &resource.Listener{Server: &resource.Server{}}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range []*Caller{from(t, web), from(t, ""), {}} {
				if v := Decide(t.Context(), in, c, vote, time.Now()); v.Allowed {
					t.Errorf("%s is allowed", c.name())
				}
			}
		})
	}
}

func FuzzDenied(f *testing.F) {
	f.Add("default/voting/deny/0", vote)
	f.Add("default/a, shop/b and 7 more", "")
	f.Add(", / and ", "/a/b")
	f.Fuzz(func(t *testing.T, policy, method string) {
		v := Verdict{Decision: resource.Decision{Policy: policy}}
		if err := Denied("voting", from(t, web), method, &v); err.Code != codes.PermissionDenied || len(err.Error()) > 4*len(policy)+3*maxText+200 {
			t.Errorf("got %v", err)
		}
	})
}
