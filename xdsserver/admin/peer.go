package admin

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path"
	"sync"
)

// A peer finds out, once and when it is first asked, whether the process at the
// other end of a connection may use the API: one of this user or of root.
//
// It is asked while a request waits for its answer, so that both ends of the
// connection are there to be looked at.
type peer struct {
	once sync.Once
	look func() error
	err  error
}

func newPeer(c net.Conn) *peer { return &peer{look: func() error { return trusted(c) }} }

// trusted returns nil when the process is, and else why it is not.
func (p *peer) trusted() error {
	p.once.Do(func() { p.err = p.look() })
	return p.err
}

// peerKey is the context's key for the *peer of a connection.
type peerKey struct{}

// withPeer is an http.Server's ConnContext.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, newPeer(c))
}

// errUnknown is for systems on which nobody says who the other end is.
var errUnknown = errors.New("this system does not say whose process asks: the admin API's TCP port is read-only here, " +
	"use its unix socket (--admin unix://PATH)")

// readOnly are the methods that change nothing and hand out no secret.
var readOnly = map[string]bool{
	"List":           true,
	"ListEndpoints":  true,
	"GetStatus":      true,
	"ListTokens":     true,
	"GetAuthority":   true,
	"ListIdentities": true,
	"Authorize":      true,
	"SuggestPolicy":  true,
}

// sameUser refuses requests of other users' processes. Without it any user of this
// machine could make tokens, and be any service.
func sameUser(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err, who := errors.New("this server does not know whose connections it takes"), localUser()
		if p, ok := r.Context().Value(peerKey{}).(*peer); ok {
			err = p.trusted()
		}
		if errors.Is(err, errUnknown) && readOnly[path.Base(r.URL.Path)] {
			err, who = nil, Caller{Name: "a user of this machine", May: []Right{MayView}}
		}
		if err != nil {
			http.Error(w, "admin API: "+err.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r.WithContext(WithCaller(r.Context(), who)))
	})
}
