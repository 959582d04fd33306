package dashboard

import (
	_ "embed"
	"html"
	"net/http"
	"strings"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/admin"
)

var (
	//go:embed page/login.html
	loginPage string
	//go:embed page/login.css
	loginStyle string
)

// What the page says to who has no session.
const (
	sayEnter = "This is the dashboard of a mesh. A command lets you in:"
	sayUsed  = "This address has been used, or is too old. A command makes another:"
)

// sayLogin shows the page that says how to come in.
func sayLogin(w http.ResponseWriter, code int, what string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(strings.Replace(loginPage, "SAYING", html.EscapeString(what), 1)))
}

func (s *Server) serveLoginStyle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = w.Write([]byte(loginStyle))
}

// serveLogin makes a session of a token, and sends the browser on, so that the token is
// not what it shows and keeps.
func (s *Server) serveLogin(w http.ResponseWriter, r *http.Request) {
	token := r.URL.Query().Get("token")
	switch {
	case token == "":
		sayLogin(w, http.StatusUnauthorized, sayEnter)
		return
	case r.Method != http.MethodGet, strings.Contains(r.Header.Get("Sec-Purpose"), "prefetch"):
		// A browser that looks ahead would use it up.
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	now := time.Now()
	l, ok := s.logins.redeem(token, now)
	if !ok {
		s.warn("login to the dashboard refused", "peer", r.RemoteAddr)
		sayLogin(w, http.StatusUnauthorized, sayUsed)
		return
	}
	if err := s.config.Audit("login.used", l.name+" from "+r.RemoteAddr); err != nil {
		s.config.Logger.Error("audit log cannot be written", "event", "login.used", "error", err)
		sayLogin(w, http.StatusServiceUnavailable, "Nobody is let in while the audit log cannot be written. Mend that, and then:")
		return
	}
	uid, bound := admin.PeerUser(r.Context())
	key, made := s.sessions.begin(l, uid, bound, now)
	s.config.Logger.Info("session of the dashboard begins", "session", made.name, "peer", r.RemoteAddr, "until", made.expires)
	http.SetCookie(w, s.cookie(key.reveal(), l.session))
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		http.Redirect(w, r, "/", http.StatusSeeOther)
	default:
		// By a link from elsewhere: a redirect would still be that, and go without the
		// cookie (SameSite, RFC 6265bis section 5.2). A page of ours may go on with it.
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(onwards))
	}
}

// onwards is a page that goes on to the dashboard.
const onwards = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>tulle</title><link rel="icon" href="data:,"><meta http-equiv="refresh" content="0;url=/"></head>
<body><a href="/">Go on</a></body></html>
`
