package dashboard

import (
	"net"
	"net/http"
	"strings"
)

// policy is what the page may load and do: what this server serves, and nothing else
// (CSP level 3).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// requestHeader is a header that no form, image or script element can send: with it a
// request is one of our page, or of a program.
const requestHeader = "Tulle-Request"

// guard puts the headers on every answer, and refuses what must not get further.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer") // the address of a login holds its token
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		h.Set("Cache-Control", "no-store")
		switch {
		case !s.known(r.Host):
			http.Error(w, "dashboard: it does not answer to this host name: open it by the address that 'xdsserver dashboard' prints", http.StatusForbidden)
		case s.foreign(r):
			http.Error(w, "dashboard: another site made this request: type its address, or paste it", http.StatusForbidden)
		case len(r.URL.RawQuery) > maxQuery:
			http.Error(w, "dashboard: the query is too long", http.StatusRequestURITooLong)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// known reports whether a request's Host is one of ours. A name that somebody else's
// DNS leads here is not (DNS rebinding): by it a page would be of our origin. The port is
// whatever leads here, as through ssh.
func (s *Server) known(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return true
	}
	return s.hosts[host]
}

// foreign reports whether a request may be the doing of another site, also of one that
// differs by its port only (W3C Fetch Metadata; RFC 6454). Anybody may link to the page, which
// comes without content, to the browser's own window, and in no frame; and to a login, for
// which he must have the token.
func (s *Server) foreign(r *http.Request) bool {
	for _, origin := range r.Header.Values("Origin") {
		if origin != s.scheme+"://"+r.Host {
			return true
		}
	}
	api := strings.HasPrefix(r.URL.Path, "/api/")
	switch site := r.Header.Values("Sec-Fetch-Site"); {
	case len(site) == 0:
		// No browser, or one of before 2023.
		return api && r.Header.Get(requestHeader) == ""
	case len(site) > 1:
		return true
	case site[0] == "same-origin":
		return false
	case site[0] == "none":
		return api // typed by the user: the API is for the page
	default:
		return r.URL.Path != "/" && r.URL.Path != "/login" || r.Method != http.MethodGet ||
			r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
	}
}
