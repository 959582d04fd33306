package enrol

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

const (
	// maxJWT bounds a token, in bytes: nothing larger is parsed.
	maxJWT = 8 << 10
	// maxDocument bounds what an issuer may answer, in bytes.
	maxDocument = 1 << 20
	fetchWithin = 5 * time.Second
	// fetchEvery, fetchBurst bound what is asked of an issuer: a token may name any
	// key, and each that is not known asks for all.
	fetchEvery, fetchBurst = 10 * time.Second, 5
)

// algorithms are those of public keys: with "none" or HMAC whoever can read a
// configuration could sign.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512}

// An Issuer is somebody whose OIDC tokens attest processes. It is safe for
// concurrent use.
type Issuer struct {
	url, audience string
	template      template
	client        *http.Client

	mu       sync.Mutex // held while the issuer is looked up, for 5 s at most
	verifier *oidc.IDTokenVerifier
}

// ParseIssuer reads the text of an issuer:
//
//	issuer=https://ci.example.org,audience=tulle,identity=ns/{namespace}/svc/{service}
//
// audience is what the token's aud must hold. identity says how claims name a
// service: ns/NAMESPACE/svc/NAME, where {claim} stands for the text of a claim,
// {a.b} for claim b within claim a, and {"a.b"} for a claim whose own name has dots.
// What results must be a service's identity as it is: there are no wildcards. The
// issuer is not contacted before its first token.
func ParseIssuer(text string) (*Issuer, error) {
	i := new(Issuer)
	identity := ""
	for part := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(part, "=")
		switch key {
		case "issuer":
			i.url = value
		case "audience":
			i.audience = value
		case "identity":
			identity = value
		default:
			return nil, fmt.Errorf("oidc %.200q: %.40q is no part of it, want issuer=URL,audience=NAME,identity=ns/{claim}/svc/{claim}", text, key)
		}
	}
	u, err := url.Parse(i.url)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		return nil, fmt.Errorf("oidc: issuer %.200q: want an https URL", i.url)
	}
	if i.audience == "" {
		return nil, errors.New("oidc: audience is missing: without one, a token made for anybody would do")
	}
	if i.template, err = parseTemplate(identity); err != nil {
		return nil, err
	}
	i.client = &http.Client{Timeout: fetchWithin, Transport: &careful{
		next: http.DefaultTransport, limit: rate.NewLimiter(rate.Every(fetchEvery), fetchBurst),
	}}
	return i, nil
}

// URL is the issuer's.
func (i *Issuer) URL() string { return i.url }

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// believe returns the service that a JWT says its bearer is.
func (s *Server) believe(ctx context.Context, jwt string) (string, error) {
	if len(s.config.Issuers) == 0 {
		return "", status.Error(codes.Unauthenticated, "enrol: this xdsserver trusts no issuer of tokens: start it with --oidc")
	}
	if len(jwt) > maxJWT {
		return "", status.Errorf(codes.InvalidArgument, "enrol: jwt: has %d bytes, %d are the most", len(jwt), maxJWT)
	}
	var errs []error
	for _, issuer := range s.config.Issuers {
		service, err := issuer.service(ctx, jwt)
		if err == nil {
			return service, nil
		}
		if st, ok := status.FromError(err); ok && st.Code() == codes.Unavailable {
			return "", err
		}
		errs = append(errs, err)
	}
	return "", status.Errorf(codes.Unauthenticated, "enrol: jwt: %v", errors.Join(errs...))
}

// service verifies a token of the issuer and reads whose it is.
func (i *Issuer) service(ctx context.Context, jwt string) (string, error) {
	verifier, err := i.look(ctx)
	if err != nil {
		return "", err
	}
	token, err := verifier.Verify(oidc.ClientContext(ctx, i.client), jwt)
	if err != nil {
		return "", fmt.Errorf("of issuer %s: %s", i.url, strings.TrimPrefix(err.Error(), "oidc: "))
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return "", fmt.Errorf("of issuer %s: %w", i.url, err)
	}
	if exp, ok := claims["exp"].(float64); !ok || exp <= 0 {
		return "", fmt.Errorf("of issuer %s: has no time at which it expires (exp)", i.url)
	}
	path, err := i.template.fill(claims)
	if err != nil {
		return "", fmt.Errorf("of issuer %s: %w", i.url, err)
	}
	id, err := spiffe.ParseID("spiffe://tulle.local/" + path)
	if err != nil || id.Service == "" {
		return "", fmt.Errorf("of issuer %s: names %.200q, which is no identity of a service (ns/NAMESPACE/svc/NAME)", i.url, path)
	}
	return id.Service, nil
}

// look finds out about the issuer's keys, once it answers.
func (i *Issuer) look(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.verifier != nil {
		return i.verifier, nil
	}
	// Keys are fetched for as long as the process lives, by the client's own limits.
	provider, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), i.client), i.url)
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "enrol: jwt: the issuer %s cannot be asked for its keys: %v", i.url, err)
	}
	i.verifier = provider.Verifier(&oidc.Config{ClientID: i.audience, SupportedSigningAlgs: algorithms})
	return i.verifier, nil
}

// careful bounds what is asked of an issuer, and what it may answer.
type careful struct {
	next  http.RoundTripper
	limit *rate.Limiter
}

var errAskedTooOften = errors.New("asked too often in a short time: try again in 10 s")

func (c *careful) RoundTrip(req *http.Request) (*http.Response, error) {
	if !c.limit.Allow() {
		return nil, errAskedTooOften
	}
	if req.URL.Scheme != "https" && !loopback(req.URL.Hostname()) {
		return nil, fmt.Errorf("%s is not https", req.URL.Redacted())
	}
	resp, err := c.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxDocument {
		return nil, fmt.Errorf("%s answers with more than %d bytes", req.URL.Redacted(), maxDocument)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}
