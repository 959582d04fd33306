package cli_test

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
	"github.com/tulle-mesh/tulle/xdsserver/cli"
)

// A fakeServer answers what a test sets.
type fakeServer struct {
	adminv1connect.UnimplementedAdminServiceHandler
	status      *adminv1.GetStatusResponse
	authorities []*adminv1.Authority // one answer each, the last again
	tokens      []*adminv1.Token
	identities  []*adminv1.Identity
	access      *adminv1.AuthorizeResponse
	suggested   *adminv1.SuggestPolicyResponse
	routes      *adminv1.ListRoutesResponse
	explained   *adminv1.ExplainCallResponse
	graph       *adminv1.GetGraphResponse
	asked       []any
}

func (f *fakeServer) GetStatus(context.Context, *adminv1.GetStatusRequest) (*adminv1.GetStatusResponse, error) {
	return f.status, nil
}

func (f *fakeServer) List(context.Context, *adminv1.ListRequest) (*adminv1.ListResponse, error) {
	return &adminv1.ListResponse{}, nil
}

func (f *fakeServer) ListEndpoints(context.Context, *adminv1.ListEndpointsRequest) (*adminv1.ListEndpointsResponse, error) {
	return &adminv1.ListEndpointsResponse{}, nil
}

func (f *fakeServer) CreateToken(_ context.Context, req *adminv1.CreateTokenRequest) (*adminv1.CreateTokenResponse, error) {
	f.asked = append(f.asked, req)
	return &adminv1.CreateTokenResponse{Text: "tulle1.a.b.c@10.0.0.5:18000", Token: f.tokens[0]}, nil
}

func (f *fakeServer) ListTokens(context.Context, *adminv1.ListTokensRequest) (*adminv1.ListTokensResponse, error) {
	return &adminv1.ListTokensResponse{Tokens: f.tokens}, nil
}

func (f *fakeServer) RevokeToken(_ context.Context, req *adminv1.RevokeTokenRequest) (*adminv1.RevokeTokenResponse, error) {
	f.asked = append(f.asked, req)
	return &adminv1.RevokeTokenResponse{}, nil
}

func (f *fakeServer) authority() *adminv1.Authority {
	a := f.authorities[0]
	if len(f.authorities) > 1 {
		f.authorities = f.authorities[1:]
	}
	return a
}

func (f *fakeServer) GetAuthority(context.Context, *adminv1.GetAuthorityRequest) (*adminv1.GetAuthorityResponse, error) {
	return &adminv1.GetAuthorityResponse{Authority: f.authority()}, nil
}

func (f *fakeServer) RotateAuthority(_ context.Context, req *adminv1.RotateAuthorityRequest) (*adminv1.RotateAuthorityResponse, error) {
	f.asked = append(f.asked, req)
	return &adminv1.RotateAuthorityResponse{Authority: f.authority()}, nil
}

func (f *fakeServer) ListIdentities(context.Context, *adminv1.ListIdentitiesRequest) (*adminv1.ListIdentitiesResponse, error) {
	return &adminv1.ListIdentitiesResponse{Identities: f.identities}, nil
}

func (f *fakeServer) Authorize(_ context.Context, req *adminv1.AuthorizeRequest) (*adminv1.AuthorizeResponse, error) {
	f.asked = append(f.asked, req)
	return f.access, nil
}

func (f *fakeServer) SuggestPolicy(context.Context, *adminv1.SuggestPolicyRequest) (*adminv1.SuggestPolicyResponse, error) {
	return f.suggested, nil
}

func (f *fakeServer) ListRoutes(context.Context, *adminv1.ListRoutesRequest) (*adminv1.ListRoutesResponse, error) {
	return f.routes, nil
}

func (f *fakeServer) ExplainCall(_ context.Context, req *adminv1.ExplainCallRequest) (*adminv1.ExplainCallResponse, error) {
	f.asked = append(f.asked, req)
	return f.explained, nil
}

func (f *fakeServer) GetGraph(context.Context, *adminv1.GetGraphRequest) (*adminv1.GetGraphResponse, error) {
	if f.graph == nil {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("this xdsserver takes no reports"))
	}
	return f.graph, nil
}

// run runs a command against the fake.
func (f *fakeServer) run(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	_, handler := adminv1connect.NewAdminServiceHandler(f)
	server := httptest.NewServer(handler)
	defer server.Close()
	t.Setenv("TULLE_ADMIN", server.URL)
	var o, e bytes.Buffer
	code = cli.Main(t.Context(), args, cli.IO{In: strings.NewReader(""), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

// in is a moment from now; half a minute keeps it what it is while the test runs.
func in(d time.Duration) *timestamppb.Timestamp {
	return timestamppb.New(time.Now().Add(d + 30*time.Second))
}

const day = 24 * time.Hour

func healthyAuthority() *adminv1.Authority {
	return &adminv1.Authority{
		TrustDomain: "tulle.local", Kind: "built-in", RootOnline: true, LeafTtl: durationpb.New(day), Issued: 7, Generation: 1,
		Roots: []*adminv1.CACertificate{{
			Name: "root-1", KeyId: "00112233445566778899aabbccddeeff00112233", Phase: "active", Online: true,
			NotBefore: in(-2*day - 2*time.Minute), NotAfter: in(3000 * day),
		}},
		Intermediates: []*adminv1.CACertificate{{
			Name: "intermediate-1", KeyId: "ffeeddccbbaa99887766554433221100ffeeddcc", Phase: "active", Online: true,
			NotBefore: in(-2*day - 2*time.Minute), NotAfter: in(28 * day),
		}},
	}
}

func TestTokens(t *testing.T) {
	token := &adminv1.Token{
		Id: "c2FtcGxl", Service: "payments", Created: in(-2 * time.Minute), Expires: in(time.Hour), Uses: 2, Used: 1, State: "usable", Cidrs: []string{"10.0.0.0/8"},
	}
	f := &fakeServer{tokens: []*adminv1.Token{token}}
	code, out, errs := f.run(t, "token", "create", "--service", "payments", "--uses", "2", "--ttl", "1h", "--cidr", "10.0.0.0/8")
	if want := "tulle1.a.b.c@10.0.0.5:18000\n"; code != 0 || out != want {
		t.Errorf("exit %d, %q, want the line alone", code, out)
	}
	for _, want := range []string{
		"TULLE_SERVICE=payments TULLE_TOKEN_FILE=FILE",
		"It joins 2 processes within 1h0m, from 10.0.0.0/8. 'xdsserver token revoke c2FtcGxl' takes it back.",
	} {
		if !strings.Contains(errs, want) {
			t.Errorf("standard error lacks %q:\n%s", want, errs)
		}
	}
	req := f.asked[0].(*adminv1.CreateTokenRequest)
	if req.GetService() != "payments" || req.GetUses() != 2 || req.GetTtl().AsDuration() != time.Hour || len(req.GetCidrs()) != 1 {
		t.Errorf("asked for %v", req)
	}
	_, out, _ = f.run(t, "token", "list")
	if diff := cmp.Diff("ID         SERVICE    STATE    USED     FROM         AGE     LEFT\nc2FtcGxl   payments   usable   1 of 2   10.0.0.0/8   1m30s   1h0m\n", out); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	code, out, _ = f.run(t, "token", "create", "--service", "payments", "-o", "json")
	if code != 0 || !strings.Contains(out, `"text": "tulle1.a.b.c@10.0.0.5:18000"`) || !strings.Contains(out, `"id": "c2FtcGxl"`) {
		t.Errorf("exit %d, %s", code, out)
	}
	if code, out, _ = f.run(t, "token", "revoke", "c2FtcGxl"); code != 0 || out != "Token c2FtcGxl revoked\n" {
		t.Errorf("exit %d, %s", code, out)
	}
}

func TestTheAuthorityIsShown(t *testing.T) {
	f := &fakeServer{authorities: []*adminv1.Authority{healthyAuthority()}}
	code, out, errs := f.run(t, "ca", "status")
	want := `TRUST DOMAIN   AUTHORITY   ROOT KEY   LEAF LIFE   ISSUED   ROTATION
tulle.local    built-in    here       1d0h        7        -

CERTIFICATE    NAME             KEY ID         PHASE    KEY    AGE    LEFT
root           root-1           001122334455   active   here   2d0h   3000d0h
intermediate   intermediate-1   ffeeddccbbaa   active   here   2d0h   28d0h
`
	if diff := cmp.Diff(want, out); code != 0 || errs != "" || diff != "" {
		t.Errorf("exit %d, %s (-want +got):\n%s", code, errs, diff)
	}
	_, out, _ = f.run(t, "ca", "status", "-o", "json")
	for _, want := range []string{`"trustDomain": "tulle.local"`, `"leafTtlSeconds": 86400`, `"phase": "active"`, `"rootOnline": true`} {
		if !strings.Contains(out, want) {
			t.Errorf("JSON lacks %s:\n%s", want, out)
		}
	}
}

func TestARotationIsWaitedFor(t *testing.T) {
	step := func(phase, waiting string) *adminv1.Authority {
		a := healthyAuthority()
		a.Rotation = &adminv1.Rotation{Level: "root", Phase: phase, Waiting: waiting}
		return a
	}
	f := &fakeServer{authorities: []*adminv1.Authority{
		step("prepared", "3 clients to acknowledge"), step("prepared", "3 clients to acknowledge"),
		step("active", "certificates of the old root to be renewed"), healthyAuthority(),
	}}
	code, out, errs := f.run(t, "ca", "rotate")
	want := "The new root is prepared: it waits for 3 clients to acknowledge\n" +
		"The new root is active: it waits for certificates of the old root to be renewed\n" +
		"The rotation is complete.\n"
	if diff := cmp.Diff(want, errs); code != 0 || diff != "" || !strings.HasPrefix(out, "TRUST DOMAIN") {
		t.Errorf("exit %d, %s (-want +got):\n%s", code, out, diff)
	}
	f = &fakeServer{authorities: []*adminv1.Authority{step("prepared", "")}}
	code, out, errs = f.run(t, "ca", "rotate", "--intermediate", "--detach", "-o", "json")
	if code != 0 || errs != "" || !strings.Contains(out, `"phase": "prepared"`) || !f.asked[0].(*adminv1.RotateAuthorityRequest).GetIntermediate() {
		t.Errorf("exit %d, asked %v, %s%s", code, f.asked, errs, out)
	}
}

func TestIdentitiesAreShown(t *testing.T) {
	f := &fakeServer{identities: []*adminv1.Identity{{
		Service: "web", Node: "web-1", Id: "spiffe://tulle.local/ns/default/svc/web", Issuer: "ffeeddccbbaa99887766554433221100ffeeddcc",
		Serial: "1f2e", NotAfter: in(12 * time.Hour), Peer: "10.0.0.9:40000",
	}}}
	_, out, _ := f.run(t, "identity")
	want := `SERVICE   NODE    IDENTITY                                  ISSUER         SERIAL   LEFT    PEER
web       web-1   spiffe://tulle.local/ns/default/svc/web   ffeeddccbbaa   1f2e     12h0m   10.0.0.9:40000
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.identities = nil
	code, out, errs := f.run(t, "identity", "voting")
	if code != 0 || out != "" || !strings.HasPrefix(errs, "No process of voting is connected") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
}

func TestAccessIsShown(t *testing.T) {
	f := &fakeServer{access: &adminv1.AuthorizeResponse{Rules: []*adminv1.AccessRule{
		{Policy: "health", Action: "allow", Mode: "enforce", From: []string{"everybody"}, Methods: []string{"/grpc.health.v1.Health/*"}},
		{
			Policy: "voting", Action: "allow", Mode: "audit", From: []string{"web"}, Methods: []string{"/vote.v1.Votes/Cast"},
			Metadata: []*adminv1.Metadata{{Name: "tenant", Value: "a"}, {Name: "trace"}}, OnlyIf: []string{"x", "y"}, Origin: "mesh.yaml:3",
		},
		{Policy: "mesh/default", Action: "allow", Mode: "enforce", From: []string{"authenticated"}, Note: "is not asked"},
	}}}
	code, out, errs := f.run(t, "authz", "voting")
	want := `POLICY         ACTION   MODE      FROM            METHODS                    METADATA         ONLY IF   ORIGIN
health         allow    enforce   everybody       /grpc.health.v1.Health/*   -                -         -
voting         allow    audit     web             /vote.v1.Votes/Cast        tenant=a,trace   x; y      mesh.yaml:3
mesh/default   allow    enforce   authenticated   any                        -                -         -
`
	if diff := cmp.Diff(want, out); code != 0 || errs != "mesh/default: is not asked\n" || diff != "" {
		t.Errorf("exit %d, %q (-want +got):\n%s", code, errs, diff)
	}

	f.access.Verdict = &adminv1.AuthorizeResponse_Verdict{
		Policy: "default/voting/deny/0", Reason: "rule 0 of what AccessPolicy/voting denies", WouldDeny: true, WouldPolicy: "default/other",
	}
	code, out, _ = f.run(t, "authz", "voting", "--from", "web", "--method", "/a.B/C", "--metadata", "Tenant=a")
	if code != 1 || out != "denied by default/voting/deny/0: rule 0 of what AccessPolicy/voting denies\nwould be denied by default/other, were it enforced\n" {
		t.Errorf("exit %d, %q", code, out)
	}
	if m := f.asked[1].(*adminv1.AuthorizeRequest).GetMetadata(); len(m) != 1 || m[0].GetName() != "tenant" || m[0].GetValue() != "a" {
		t.Errorf("asked with %v", m)
	}
	f.access.Verdict.Allowed = true
	if code, out, _ = f.run(t, "authz", "voting", "--from", "web", "--method", "/a.B/C", "-o", "json"); code != 0 || !strings.Contains(out, `"allowed": true`) {
		t.Errorf("exit %d, %s", code, out)
	}

	f.suggested = &adminv1.SuggestPolicyResponse{Yaml: "kind: AccessPolicy\n", Notes: []string{"left out: 3 calls"}}
	if code, out, errs = f.run(t, "authz", "suggest", "voting"); code != 0 || out != "kind: AccessPolicy\n" || errs != "left out: 3 calls\n" {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
}
