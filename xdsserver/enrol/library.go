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
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/time/rate"
)

const (
	// maxDocument bounds what an issuer may answer, in bytes.
	maxDocument = 1 << 20
	fetchWithin = 5 * time.Second
	// fetchEvery, fetchBurst bound what is asked of an issuer: a token may name any
	// key, and each that is not known asks for all.
	fetchEvery, fetchBurst = 10 * time.Second, 5
)

// library is where an issuer's documents come from: no faster than it may be asked,
// no larger than is read, and over nothing that somebody on the way could change.
type library struct {
	client *http.Client
	limit  *rate.Limiter
	plain  bool // http on this machine will do
}

var (
	errAskedTooOften = errors.New("asked too often in a short time")
	errTooLarge      = fmt.Errorf("answers with more than %d bytes", maxDocument)
)

func newLibrary(plain bool) *library {
	l := &library{limit: rate.NewLimiter(rate.Every(fetchEvery), fetchBurst), plain: plain}
	l.client = &http.Client{Timeout: fetchWithin, Transport: l}
	return l
}

// RoundTrip implements http.RoundTripper.
func (l *library) RoundTrip(req *http.Request) (*http.Response, error) {
	if !safe(req.URL, l.plain) {
		return nil, fmt.Errorf("%s is not https", req.URL.Redacted())
	}
	if !l.limit.Allow() {
		return nil, errAskedTooOften
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxDocument {
		return nil, errTooLarge
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// safe reports whether nobody on the way to u can change what comes from there;
// plain says that this machine is no way.
func safe(u *url.URL, plain bool) bool {
	if u.Scheme == "https" {
		return true
	}
	ip := net.ParseIP(u.Hostname())
	return plain && u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// look finds out where the issuer's keys are, once it answers.
func (i *Issuer) look(ctx context.Context) (*oidc.RemoteKeySet, error) {
	if keys := i.keys.Load(); keys != nil {
		return keys, nil
	}
	select {
	case i.looking <- struct{}{}:
		defer func() { <-i.looking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if keys := i.keys.Load(); keys != nil {
		return keys, nil
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, i.library.client), i.url)
	if err != nil {
		return nil, err
	}
	var document map[string]any
	if err := provider.Claims(&document); err != nil {
		return nil, err
	}
	address, _ := document["jwks_uri"].(string)
	if address == "" {
		return nil, errors.New("its configuration names no jwks_uri")
	}
	// Keys are fetched for as long as the process lives, within the client's limits.
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.WithoutCancel(ctx), i.library.client), address)
	i.keys.Store(keys)
	return keys, nil
}

// An attempt is the key set for one token. It remembers when keys could not be had:
// the verifier keeps no more than an error's text.
type attempt struct {
	keys *oidc.RemoteKeySet
	away error
}

var _ oidc.KeySet = (*attempt)(nil)

// VerifySignature implements oidc.KeySet.
func (a *attempt) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := a.keys.VerifySignature(ctx, jwt)
	if err != nil && strings.HasPrefix(err.Error(), "fetching keys") {
		a.away = err
	}
	return payload, err
}
