package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
)

// A peer finds out, once and when it is first asked, whose process is at the other end
// of a connection.
//
// It is asked while a request waits for its answer, so that both ends of the
// connection are there to be looked at.
type peer struct {
	once sync.Once
	look func() (uid int, err error)
	uid  int
	err  error
}

func newPeer(c net.Conn) *peer { return &peer{look: func() (int, error) { return owner(c) }} }

// user is whose the process is.
func (p *peer) user() (int, error) {
	p.once.Do(func() { p.uid, p.err = p.look() })
	return p.uid, p.err
}

// trusted returns nil when the process is one of this user or of root, and else why it
// may not use the API.
func (p *peer) trusted() error {
	uid, err := p.user()
	if err != nil {
		return err
	}
	return judge(uid)
}

// trusted reports whether the other end of a connection is a process of this user or of
// root.
func trusted(c net.Conn) error { return newPeer(c).trusted() }

// judge says whom the API answers.
func judge(uid int) error {
	if own := os.Getuid(); uid != own && uid != 0 {
		return fmt.Errorf("a process of user %d asks, and it answers to user %d and root only: run the command as that user", uid, own)
	}
	return nil
}

// peerKey is the context's key for the *peer of a connection.
type peerKey struct{}

// withPeer is an http.Server's ConnContext.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, newPeer(c))
}

// PeerUser returns the user whose process sent a request to a server of HTTPServer, by
// the kernel's word; known is false for one of another machine, and where the system
// does not say. Ask while the request waits for its answer.
func PeerUser(ctx context.Context) (uid int, known bool) {
	p, ok := ctx.Value(peerKey{}).(*peer)
	if !ok {
		return 0, false
	}
	uid, err := p.user()
	return uid, err == nil
}

// errUnknown is for systems on which nobody says who the other end is.
var errUnknown = errors.New("this system does not say whose process asks: the admin API's TCP port is read-only here, " +
	"use its unix socket (--admin unix://PATH)")

// sameUser refuses requests of other users' processes. Without it any user of this
// machine could make tokens, and be any service.
func sameUser(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err, who := errors.New("this server does not know whose connections it takes"), localUser()
		if p, ok := r.Context().Value(peerKey{}).(*peer); ok {
			err = p.trusted()
		}
		if errors.Is(err, errUnknown) && rights[r.URL.Path] == MayView {
			err, who = nil, Caller{Name: "a user of this machine", May: []Right{MayView}}
		}
		if err != nil {
			http.Error(w, "admin API: "+err.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r.WithContext(WithCaller(r.Context(), who)))
	})
}
