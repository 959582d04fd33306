package enrol

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

const (
	// maxJWT bounds a token, in bytes: nothing larger is parsed.
	maxJWT = 8 << 10
	// leeway is how far an issuer's clock may differ from ours.
	leeway = time.Minute
)

// algorithms are those of public keys: with "none" or HMAC whoever can read a
// configuration could sign.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512}

// An Issuer is somebody whose OIDC tokens attest processes. It is safe for
// concurrent use.
type Issuer struct {
	url, audience string
	template      template
	library       *library

	looking chan struct{} // cap 1: held while the issuer is looked up, for 5 s at most
	keys    atomic.Pointer[oidc.RemoteKeySet]
}

// ParseIssuer reads the text of an issuer:
//
//	issuer=https://ci.example.org,audience=tulle,identity=ns/{namespace}/svc/{service}
//
// audience is what the token's aud must be: that and nothing else, since a token that
// is made for others, too, could be passed on by them. identity says how claims name a
// service: ns/NAMESPACE/svc/NAME, where {claim} stands for the text of a claim and
// {a.b} for claim b within claim a. A claim whose own name has dots is quoted, as in
// {"a.b"}; Kubernetes' service accounts are
//
//	ns/{"kubernetes.io".namespace}/svc/{"kubernetes.io".serviceaccount.name}
//
// What results must be a service's identity as it is: there are no wildcards. The
// template names one claim at least, or all tokens of the issuer would be one service,
// and one in each of NAMESPACE and NAME at most, or two services could be called the
// same. The issuer is not contacted before its first token.
//
// An issuer of the public (of a hosting platform, say) signs for everybody: the
// template must name a claim by which its other customers have other identities.
func ParseIssuer(text string) (*Issuer, error) {
	const want = "want issuer=URL,audience=NAME,identity=ns/{claim}/svc/{claim}"
	parts := make(map[string]string)
	for part := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(part, "=")
		switch key {
		case "issuer", "audience", "identity":
		default:
			return nil, fmt.Errorf("oidc %.200q: %.40q is no part of it, %s", text, key, want)
		}
		if _, again := parts[key]; again {
			return nil, fmt.Errorf("oidc %.200q: says its %s twice, %s", text, key, want)
		}
		parts[key] = value
	}
	i := &Issuer{url: parts["issuer"], audience: parts["audience"], looking: make(chan struct{}, 1)}
	u, err := url.Parse(i.url)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !safe(u, true) {
		return nil, fmt.Errorf("oidc: issuer %.200q: want an https URL, without user and query", i.url)
	}
	if i.audience == "" {
		return nil, errors.New("oidc: audience is missing: without one, a token made for anybody would do")
	}
	if i.template, err = parseTemplate(parts["identity"]); err != nil {
		return nil, err
	}
	i.library = newLibrary(u.Scheme == "http")
	return i, nil
}

// URL is the issuer's.
func (i *Issuer) URL() string { return i.url }

// An awayError is an issuer that does not say now by which keys it signs. It is
// nobody's fault who asks, and the cause is not their business.
type awayError struct {
	issuer string
	cause  error
}

func (e *awayError) Error() string {
	return fmt.Sprintf("the issuer %s cannot be asked for its keys now: try again in %v", e.issuer, fetchEvery)
}
func (e *awayError) Unwrap() error { return e.cause }

// believe returns the service that a JWT says its bearer is.
func (s *Server) believe(ctx context.Context, jwt string) (string, error) {
	if len(s.config.Issuers) == 0 {
		return "", status.Error(codes.Unauthenticated, "enrol: this xdsserver trusts no issuer of tokens: start it with --oidc")
	}
	if len(jwt) > maxJWT {
		return "", status.Errorf(codes.InvalidArgument, "enrol: jwt: has %d bytes, %d are the most", len(jwt), maxJWT)
	}
	jwt = strings.TrimSpace(jwt)
	claimed, err := claimedIssuer(jwt)
	if err != nil {
		return "", status.Errorf(codes.Unauthenticated, "enrol: jwt: %v", err)
	}
	var why []string
	for _, issuer := range s.config.Issuers {
		if issuer.url != claimed {
			continue // one that is away, or asked too often, is in nobody else's way
		}
		service, err := issuer.service(ctx, jwt)
		if err == nil {
			return service, nil
		}
		if away, ok := errors.AsType[*awayError](err); ok {
			s.config.Logger.Warn("issuer of tokens does not answer", "issuer", issuer.url, "error", fmt.Sprintf("%.300v", away.cause))
			return "", status.Error(codes.Unavailable, "enrol: jwt: "+away.Error())
		}
		why = append(why, err.Error())
	}
	if why == nil {
		return "", status.Errorf(codes.Unauthenticated, "enrol: jwt: its issuer %.200q is not trusted here: add it with --oidc", claimed)
	}
	return "", status.Errorf(codes.Unauthenticated, "enrol: jwt: of issuer %s: %.400s", claimed, strings.Join(why, "; "))
}

// claimedIssuer returns who a JWT says it is of, by which its verifier is found.
func claimedIssuer(jwt string) (string, error) {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return "", errors.New("is no JWT, HEADER.CLAIMS.SIGNATURE")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", errors.New("its claims are not base64url")
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return "", errors.New("its claims are not JSON")
	}
	return claims.Issuer, nil
}

// service verifies a token of the issuer and reads whose it is.
func (i *Issuer) service(ctx context.Context, jwt string) (string, error) {
	keys, err := i.look(ctx)
	if err != nil {
		return "", &awayError{issuer: i.url, cause: err}
	}
	attempt := &attempt{keys: keys}
	verifier := oidc.NewVerifier(i.url, attempt, &oidc.Config{
		ClientID: i.audience, SupportedSigningAlgs: algorithms,
		SkipExpiryCheck: true, // checkTimes is stricter
	})
	token, err := verifier.Verify(ctx, jwt)
	if attempt.away != nil {
		return "", &awayError{issuer: i.url, cause: attempt.away}
	}
	if err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), "oidc: "))
	}
	if len(token.Audience) != 1 {
		return "", fmt.Errorf("is for several audiences, %.200q: have one made for %q only", token.Audience, i.audience)
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return "", err
	}
	if err := checkTimes(claims, time.Now()); err != nil {
		return "", err
	}
	path, err := i.template.fill(claims)
	if err != nil {
		return "", err
	}
	service := serviceAt(path)
	if service == "" {
		return "", fmt.Errorf("names %.200q, which is no identity of a service (ns/NAMESPACE/svc/NAME)", path)
	}
	return service, nil
}

// serviceAt returns the canonical name of the service whose identity has a path;
// empty where that is none.
func serviceAt(path string) string {
	id, err := spiffe.ParseID("spiffe://tulle.local/" + path)
	if err != nil {
		return ""
	}
	return id.Service
}

// checkTimes holds a token to its times (RFC 7519, section 4.1).
func checkTimes(claims map[string]any, now time.Time) error {
	expires, ok := moment(claims["exp"])
	if !ok {
		return errors.New("has no time at which it expires (exp)")
	}
	if now.After(expires.Add(leeway)) {
		return fmt.Errorf("expired at %s, %v ago: have a new one made for each start", stamp(expires), now.Sub(expires).Round(time.Second))
	}
	for _, name := range []string{"nbf", "iat"} {
		if claims[name] == nil {
			continue
		}
		from, ok := moment(claims[name])
		if !ok {
			return fmt.Errorf("has a time %s that is none", name)
		}
		if now.Before(from.Add(-leeway)) {
			return fmt.Errorf("is not valid before %s (%s), in %v: compare the clocks of its issuer and of xdsserver",
				stamp(from), name, from.Sub(now).Round(time.Second))
		}
	}
	return nil
}

// moment reads a NumericDate (RFC 7519, section 2).
func moment(claim any) (time.Time, bool) {
	const year5000 = 95617584000 // beyond it is no date, and conversions overflow
	seconds, ok := claim.(float64)
	if !ok || !(seconds > 0 && seconds < year5000) {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}
