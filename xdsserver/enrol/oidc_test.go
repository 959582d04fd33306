package enrol

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
)

// A provider is an OIDC issuer on this machine.
type provider struct {
	*httptest.Server
	keys    atomic.Pointer[jose.JSONWebKeySet]
	fetches atomic.Int64
	asked   atomic.Int64
	// down answers nothing, keyless no keys.
	down, keyless atomic.Bool
}

func newProvider(tb testing.TB) (*provider, *ecdsa.PrivateKey) {
	tb.Helper()
	p, key := &provider{}, newKey(tb)
	p.keys.Store(&jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "one", Algorithm: "ES256", Use: "sig"}}})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.asked.Add(1)
		if p.down.Load() {
			http.Error(w, "away: secret", http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": p.URL, "jwks_uri": p.URL + "/keys", "authorization_endpoint": p.URL, "token_endpoint": p.URL,
			"id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		if p.keyless.Load() {
			http.Error(w, "away: secret", http.StatusServiceUnavailable)
			return
		}
		p.fetches.Add(1)
		_ = json.NewEncoder(w).Encode(p.keys.Load())
	})
	p.Server = httptest.NewServer(mux)
	tb.Cleanup(func() {
		p.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return p, key
}

// issuer trusts the provider.
func (p *provider) issuer(tb testing.TB) *Issuer {
	tb.Helper()
	i, err := ParseIssuer("issuer=" + p.URL + `,audience=tulle,identity=ns/{kubernetes.namespace}/svc/{"app.name"}`)
	if err != nil {
		tb.Fatal(err)
	}
	return i
}

// claims are good ones, changed.
func (p *provider) claims(change map[string]any) map[string]any {
	c := map[string]any{
		"iss": p.URL, "aud": "tulle", "sub": "me",
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		"kubernetes": map[string]any{"namespace": "shop"}, "app.name": "voting",
	}
	for k, v := range change {
		if v == nil {
			delete(c, k)
		} else {
			c[k] = v
		}
	}
	return c
}

func signed(tb testing.TB, algorithm jose.SignatureAlgorithm, key any, kid string, claims map[string]any) string {
	tb.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key},
		(&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", kid))
	if err != nil {
		tb.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		tb.Fatal(err)
	}
	object, err := signer.Sign(payload)
	if err != nil {
		tb.Fatal(err)
	}
	text, err := object.CompactSerialize()
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func TestJWTOfATrustedIssuerNamesTheService(t *testing.T) {
	p, key := newProvider(t)
	s := newServer(t, func(c *Config) { c.Issuers = []*Issuer{p.issuer(t)} })
	jwt := signed(t, jose.ES256, key, "one", p.claims(nil))
	ask := func(service, namespace string) error {
		answer, err := s.Sign(from(t, remote()), &identityv1.SignRequest{
			Service: service, Namespace: namespace, Csr: csr(t, newKey(t), x509.CertificateRequest{}),
			Attestation: &identityv1.SignRequest_Jwt{Jwt: jwt},
		})
		if err == nil && verified(t, s, answer).Service != "voting.shop" {
			t.Errorf("got %s, want voting.shop", verified(t, s, answer).Service)
		}
		return err
	}
	for _, name := range [][2]string{{"voting", "shop"}, {"", ""}} {
		if err := ask(name[0], name[1]); err != nil {
			t.Errorf("as %q: %v", name, err)
		}
	}
	if err := ask("voting", ""); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), `attested as "voting.shop"`) {
		t.Errorf("as voting of another namespace: %v, want PERMISSION_DENIED", err)
	}
}

func TestHostileJWTsAreRefused(t *testing.T) {
	p, key := newProvider(t)
	other, otherKey := newProvider(t)
	s := newServer(t, func(c *Config) { c.Issuers = []*Issuer{p.issuer(t)} })
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	good := func(change map[string]any) string { return signed(t, jose.ES256, key, "one", p.claims(change)) }
	for name, test := range map[string]struct{ jwt, want string }{
		"alg none":                     {part(map[string]any{"alg": "none"}) + "." + part(p.claims(nil)) + ".", "unexpected signature algorithm"},
		"HS256 with the public key":    {signed(t, jose.HS256, public, "one", p.claims(nil)), "unexpected signature algorithm"},
		"another audience":             {good(map[string]any{"aud": "other"}), "audience"},
		"no audience":                  {good(map[string]any{"aud": nil}), "audience"},
		"several audiences":            {good(map[string]any{"aud": []string{"tulle", "other"}}), `have one made for "tulle" only`},
		"an audience that begins so":   {good(map[string]any{"aud": "tulle2"}), "audience"},
		"expired":                      {good(map[string]any{"exp": time.Now().Add(-leeway - 10*time.Second).Unix()}), "expired at"},
		"no expiry":                    {good(map[string]any{"exp": nil}), "(exp)"},
		"an expiry beyond all time":    {good(map[string]any{"exp": 1e300}), "(exp)"},
		"an expiry that is no number":  {good(map[string]any{"exp": "tomorrow"}), ""},
		"not valid yet":                {good(map[string]any{"nbf": time.Now().Add(leeway + 10*time.Second).Unix()}), ": compare the clocks"},
		"a begin beyond all time":      {good(map[string]any{"nbf": 1e300}), "has a time nbf that is none"},
		"of tomorrow":                  {good(map[string]any{"iat": time.Now().Add(24 * time.Hour).Unix()}), "(iat)"},
		"another issuer":               {good(map[string]any{"iss": other.URL}), "is not trusted here"},
		"another issuer's own token":   {signed(t, jose.ES256, otherKey, "one", other.claims(nil)), "is not trusted here: add it with --oidc"},
		"another key under a known id": {signed(t, jose.ES256, otherKey, "one", p.claims(nil)), "failed to verify"},
		"a key nobody knows":           {signed(t, jose.ES256, otherKey, "two", p.claims(nil)), "failed to verify"},
		"a key of another kind":        {signed(t, jose.RS256, rsaKey, "one", p.claims(nil)), "failed to verify"},
		"a changed payload":            {strings.Replace(good(nil), ".", ".e30", 1), ""},
		"no claim for the name":        {good(map[string]any{"app.name": nil}), "has no claim app.name"},
		"a claim that is no text":      {good(map[string]any{"app.name": 7}), "has no claim app.name"},
		"a name that climbs":           {good(map[string]any{"app.name": "x/../../default/svc/admin"}), "not one name"},
		"a name that is escaped":       {good(map[string]any{"app.name": "voting%2fadmin"}), "not one name"},
		"a wildcard":                   {good(map[string]any{"app.name": "*"}), ""},
		"no token":                     {"nonsense", "is no JWT"},
		"claims that are no JSON":      {"e30.eA.eA", "not JSON"},
		"an algorithm without end":     {part(map[string]any{"alg": strings.Repeat("x", 4000)}) + "." + part(p.claims(nil)) + ".eA", "unexpected signature algorithm"},
		"9 KiB":                        {good(map[string]any{"ballast": strings.Repeat("x", 9<<10)}), "8192 are the most"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Sign(from(t, local()), &identityv1.SignRequest{
				Csr: csr(t, newKey(t), x509.CertificateRequest{}), Attestation: &identityv1.SignRequest_Jwt{Jwt: test.jwt},
			})
			if code := status.Code(err); code != codes.Unauthenticated && code != codes.InvalidArgument || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want a refusal with %q", err, test.want)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the error is as long as the attacker likes: %d bytes", len(err.Error()))
			}
			if err != nil && len(test.jwt) > 40 && strings.Contains(err.Error(), test.jwt[len(test.jwt)-20:]) {
				t.Errorf("the error holds the token: %v", err)
			}
		})
	}
}

func TestUnknownKeysDoNotFloodTheIssuer(t *testing.T) {
	p, _ := newProvider(t)
	_, strange := newProvider(t)
	i := p.issuer(t)
	for n := range 100 {
		if _, err := i.service(t.Context(), signed(t, jose.ES256, strange, fmt.Sprint("kid", n), p.claims(nil))); err == nil {
			t.Fatal("believed")
		}
	}
	if n := p.fetches.Load(); n > fetchBurst {
		t.Errorf("100 tokens with unknown keys made %d requests, want at most %d", n, fetchBurst)
	}
}

func TestIssuerMayBeAwayAtFirst(t *testing.T) {
	p, key := newProvider(t)
	p.down.Store(true)
	i := p.issuer(t)
	jwt := signed(t, jose.ES256, key, "one", p.claims(nil))
	s := newServer(t, func(c *Config) { c.Issuers = []*Issuer{i} })
	for _, part := range []string{"its configuration", "its keys"} {
		_, err := s.believe(t.Context(), jwt)
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), p.URL) || !strings.Contains(err.Error(), "try again in 10s") {
			t.Errorf("without %s: got %v, want UNAVAILABLE that names the issuer", part, err)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("without %s: the error holds what the issuer answered: %v", part, err)
		}
		p.down.Store(false)
		p.keyless.Store(part == "its configuration")
	}
	if service, err := s.believe(t.Context(), jwt); err != nil || service != "voting.shop" {
		t.Errorf("got %q, %v", service, err)
	}
}

// Who is away is in nobody else's way, and is not asked about others' tokens.
func TestIssuersDoNotStandInEachOthersWay(t *testing.T) {
	away, _ := newProvider(t)
	away.down.Store(true)
	p, key := newProvider(t)
	s := newServer(t, func(c *Config) { c.Issuers = []*Issuer{away.issuer(t), p.issuer(t)} })
	for range 20 {
		if _, err := s.believe(t.Context(), signed(t, jose.ES256, key, "one", p.claims(nil))); err != nil {
			t.Fatal(err)
		}
	}
	if n := away.asked.Load(); n != 0 {
		t.Errorf("the other issuer was asked %d times", n)
	}
	if n := p.fetches.Load(); n != 1 {
		t.Errorf("keys were fetched %d times, want once", n)
	}
}

// One issuer may name services in several ways, each for an audience of its own.
func TestOneIssuerTwoAudiences(t *testing.T) {
	p, key := newProvider(t)
	ci, err := ParseIssuer("issuer=" + p.URL + ",audience=ci,identity=ns/ci/svc/runner-{sub}")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, func(c *Config) { c.Issuers = []*Issuer{p.issuer(t), ci} })
	if got, err := s.believe(t.Context(), signed(t, jose.ES256, key, "one", p.claims(map[string]any{"aud": "ci"}))); err != nil || got != "runner-me.ci" {
		t.Errorf("got %q, %v, want runner-me.ci", got, err)
	}
	_, err = s.believe(t.Context(), signed(t, jose.ES256, key, "one", p.claims(map[string]any{"aud": "x"})))
	if status.Code(err) != codes.Unauthenticated || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line", err)
	}
}

func TestJWTClocksMayDifferALittle(t *testing.T) {
	p, key := newProvider(t)
	i := p.issuer(t)
	for name, change := range map[string]map[string]any{
		"just expired":     {"exp": time.Now().Add(-leeway / 2).Unix()},
		"valid in a while": {"nbf": time.Now().Add(leeway / 2).Unix()},
		"just issued":      {"iat": time.Now().Add(leeway / 2).Unix()},
		"with fractions":   {"exp": float64(time.Now().Unix()) + 60.5},
	} {
		if _, err := i.service(t.Context(), signed(t, jose.ES256, key, "one", p.claims(change))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTemplatesNameServicesByClaims(t *testing.T) {
	// As a projected service account token of Kubernetes has them.
	claims := map[string]any{
		"sub":           "system:serviceaccount:shop:voting",
		"kubernetes.io": map[string]any{"namespace": "shop", "serviceaccount": map[string]any{"name": "voting"}},
		"a":             map[string]any{"b": map[string]any{"c": "nested"}, "b.c": "half"},
		"a.b.c":         "literal",
	}
	for text, want := range map[string]string{
		`ns/{"kubernetes.io".namespace}/svc/{"kubernetes.io".serviceaccount.name}`: "ns/shop/svc/voting",
		`ns/x/svc/{a.b.c}`:          "ns/x/svc/nested",
		`ns/x/svc/{a."b.c"}`:        "ns/x/svc/half",
		`ns/x/svc/{"a.b.c"}`:        "ns/x/svc/literal",
		`ns/x/svc/pre-{a.b.c}-post`: "ns/x/svc/pre-nested-post",
	} {
		tmpl, err := parseTemplate(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := tmpl.fill(claims); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestIssuersDocumentsAreBoundedAndOverHTTPS(t *testing.T) {
	answer := func(body string) *Issuer {
		t.Helper()
		var server *httptest.Server
		server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, strings.ReplaceAll(body, "URL", server.URL))
		}))
		t.Cleanup(server.Close)
		i, err := ParseIssuer("issuer=" + server.URL + ",audience=tulle,identity=ns/x/svc/{sub}")
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	for name, test := range map[string]struct{ body, want string }{
		"too large":         {strings.Repeat(" ", maxDocument+1), "answers with more than"},
		"keys elsewhere":    {`{"issuer":"URL","jwks_uri":"http://ci.example.org/keys"}`, "is not https"},
		"keys of no scheme": {`{"issuer":"URL","jwks_uri":"file:///etc/passwd"}`, "is not https"},
		"no keys":           {`{"issuer":"URL"}`, "names no jwks_uri"},
		"of another issuer": {`{"issuer":"https://ci.example.org","jwks_uri":"URL"}`, "ci.example.org"},
		"something else":    {`<html>`, ""},
	} {
		i := answer(test.body)
		_, err := i.service(t.Context(), signed(t, jose.ES256, newKey(t), "one", map[string]any{"iss": i.URL(), "aud": "tulle"}))
		away, ok := errors.AsType[*awayError](err)
		if !ok || !strings.Contains(away.cause.Error(), test.want) {
			t.Errorf("%s: got %v, want that the issuer is away, for %q", name, err, test.want)
		}
	}
	// Only who is configured over http may be asked so.
	careful := newLibrary(false)
	resp, err := careful.client.Get("http://127.0.0.1:1/")
	if err == nil {
		resp.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "is not https") {
		t.Errorf("http on this machine, for an issuer elsewhere: %v", err)
	}
}

func TestParseIssuerRefuses(t *testing.T) {
	const rest = ",audience=a,identity=ns/x/svc/{sub}"
	for name, test := range map[string]struct{ text, want string }{
		"nothing":                {"", "no part of it"},
		"no issuer":              {"audience=a,identity=ns/x/svc/{sub}", "want an https URL"},
		"plain http":             {"issuer=http://ci.example.org" + rest, "want an https URL"},
		"no audience":            {"issuer=https://ci.example.org,identity=ns/x/svc/{sub}", "audience is missing"},
		"no identity":            {"issuer=https://ci.example.org,audience=a", "want for example"},
		"an identity of a path":  {"issuer=https://ci.example.org,audience=a,identity={sub}", "want for example"},
		"a claim without end":    {"issuer=https://ci.example.org,audience=a,identity=ns/x/svc/{sub", "is no claim"},
		"a claim without a name": {"issuer=https://ci.example.org,audience=a,identity=ns/x/svc/{}", "is no claim"},
		"an empty part":          {"issuer=https://ci.example.org,audience=a,identity=ns/x/svc/{a..b}", "is no claim"},
		"a quote without end":    {`issuer=https://ci.example.org,audience=a,identity=ns/x/svc/{"a}`, "is no claim"},
		"what it does not know":  {"issuer=https://ci.example.org,scope=x", "no part of it"},
		"two audiences":          {"issuer=https://ci.example.org,audience=b" + rest, "says its audience twice"},
		"a user":                 {"issuer=https://user:word@ci.example.org" + rest, "without user and query"},
		"a query":                {"issuer=https://ci.example.org?a=b" + rest, "without user and query"},
		"no claim at all":        {"issuer=https://ci.example.org,audience=a,identity=ns/x/svc/y", "names no claim"},
		"two claims in a name":   {"issuer=https://ci.example.org,audience=a,identity=ns/x/svc/{a}-{b}", "two claims make one name"},
		"too deep a path":        {"issuer=https://ci.example.org,audience=a,identity=ns/x/svc/{a}/y", "is not of the form"},
		"a name that never is":   {"issuer=https://ci.example.org,audience=a,identity=ns/X/svc/{a}", "is not of the form"},
		"a brace too many":       {"issuer=https://ci.example.org,audience=a,identity=ns/x}/svc/{a}", "is not of the form"},
		"text behind a quote":    {`issuer=https://ci.example.org,audience=a,identity=ns/x/svc/{"a"b}`, "is no claim"},
		"the server's own":       {"issuer=https://ci.example.org,audience=a,identity=xdsserver", "is not of the form"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseIssuer(test.text); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func FuzzParseIssuer(f *testing.F) {
	f.Add(`issuer=https://ci.example.org,audience=tulle,identity=ns/{a.b}/svc/{"a.b"}`)
	f.Add("issuer=http://[::1]:80,audience=,identity=ns/{/svc/}")
	f.Fuzz(func(t *testing.T, text string) {
		i, err := ParseIssuer(text)
		if err != nil {
			return
		}
		if i.audience == "" || i.url == "" || len(i.template) == 0 {
			t.Errorf("%q is read as %+v", text, i)
		}
		// Whatever claims there are, what comes of them is a service or refused.
		path, err := i.template.fill(map[string]any{"a": map[string]any{"b": "x"}, "sub": "y/../z", "a.b": "*"})
		if err == nil && strings.Count(path, "/") != 3 {
			t.Errorf("%q makes %q", text, path)
		}
	})
}

// Nothing that the issuer did not sign names a service.
func FuzzJWT(f *testing.F) {
	p, key := newProvider(f)
	i := p.issuer(f)
	good := signed(f, jose.ES256, key, "one", p.claims(nil))
	f.Add(good)
	f.Add(strings.Replace(good, "E", "e", 1))
	f.Fuzz(func(t *testing.T, jwt string) {
		service, err := i.service(t.Context(), jwt)
		if err == nil && (service != "voting.shop" || jwt[:strings.LastIndexByte(jwt, '.')] != good[:strings.LastIndexByte(good, '.')]) {
			t.Errorf("%q names %q", jwt, service)
		}
	})
}
