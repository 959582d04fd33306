package dashboard

import (
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/admin"
)

// cookieName is the name of the cookie that holds a session's secret.
const cookieName = "tulle_session"

// A session is somebody who has come in.
type session struct {
	// Immutable.
	hash    hash
	name    string
	may     []admin.Right
	expires time.Time
	// uid is the user whose process came in, where the kernel says so. Cookies know no
	// ports: a browser hands those of this host to any server on it, also one of
	// another user. That user cannot come from a process of this one.
	uid   int
	bound bool
	// done is closed when the session is over before its time.
	done chan struct{}

	// Guarded by sessions.mu.
	used    time.Time
	streams int
}

// caller is who asks in the session.
func (s *session) caller() admin.Caller { return admin.Caller{Name: s.name, May: s.may} }

// can reports whether the session has a right.
func (s *session) can(r admin.Right) bool { return slices.Contains(s.may, r) }

// sessions are those that are open.
type sessions struct {
	mu      sync.Mutex
	open    map[hash]*session
	streams int // of all
}

// begin opens the session of a login, and returns what its cookie holds: drawn anew,
// whatever cookie came with the login.
func (s *sessions) begin(l login, uid int, bound bool, now time.Time) (secret, *session) {
	key := newSecret()
	made := &session{
		hash: key.hash(), name: l.name, may: l.may, expires: now.Add(l.session), uid: uid, bound: bound, done: make(chan struct{}), used: now,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[hash]*session{}
	}
	var oldest *session
	for _, o := range s.open {
		if !now.Before(o.expires) {
			s.close(o)
		} else if oldest == nil || o.used.Before(oldest.used) {
			oldest = o
		}
	}
	if len(s.open) >= maxSessions {
		s.close(oldest)
	}
	s.open[made.hash] = made
	return key, made
}

// find returns the session of a cookie's value, nil when there is none.
func (s *sessions) find(value string, now time.Time) *session {
	key, ok := parseSecret(value)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// The hash of what is sent is looked up: how long that takes tells nothing of the
	// secrets.
	found := s.open[key.hash()]
	if found == nil {
		return nil
	}
	if !now.Before(found.expires) {
		s.close(found)
		return nil
	}
	found.used = now
	return found
}

// end closes a session, and its streams with it.
func (s *sessions) end(of *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close(of)
}

// close does, with mu held.
func (s *sessions) close(of *session) {
	if s.open[of.hash] == of {
		delete(s.open, of.hash)
		close(of.done)
	}
}

var (
	errStreams        = errors.New("too many streams are open to this server: close some pages of the dashboard")
	errSessionStreams = errors.New("too many streams are open in this session: close some pages of the dashboard")
)

// stream counts a stream of a session; the caller calls release at its end.
func (s *sessions) stream(of *session) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case of.streams >= maxSessionStreams:
		return nil, errSessionStreams
	case s.streams >= maxStreams:
		return nil, errStreams
	}
	of.streams++
	s.streams++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		of.streams--
		s.streams--
	}), nil
}

// session is that of a request, nil when it has none.
func (s *Server) session(r *http.Request) *session {
	cookies := r.CookiesNamed(cookieName)
	for _, c := range cookies[:min(len(cookies), maxCookies)] {
		found := s.sessions.find(c.Value, time.Now())
		if found == nil {
			continue
		}
		if found.bound {
			if uid, known := admin.PeerUser(r.Context()); !known || uid != found.uid {
				s.warn("session of another user's process refused", "session", found.name, "user", uid)
				continue
			}
		}
		return found
	}
	return nil
}

// cookie is what a browser keeps of a session; an age below zero makes it forget.
func (s *Server) cookie(value string, age time.Duration) *http.Cookie {
	c := &http.Cookie{ //nolint:gosec // Secure where there is TLS: over plain HTTP of loopback no browser would send it back
		Name: cookieName, Value: value, Path: "/", MaxAge: int(age.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.secure,
	}
	if age < 0 {
		c.MaxAge = -1
	}
	return c
}
