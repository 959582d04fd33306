package dashboard

import (
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/admin"
)

// fail answers as Connect does: with a code and a message.
func fail(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, failure{Code: code, Message: message})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil { // none of ours
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// A failure is an error as the page gets it.
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// serveMethod hands a call to the admin API, as one of the session.
func (s *Server) serveMethod(w http.ResponseWriter, r *http.Request, in *session) {
	// No form can send JSON, and no stream is opened this way.
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		fail(w, http.StatusUnsupportedMediaType, "invalid_argument", "the request is no application/json")
		return
	}
	select {
	case s.calls <- struct{}{}:
		defer func() { <-s.calls }()
	default:
		fail(w, http.StatusServiceUnavailable, "resource_exhausted", "the server has too many calls to answer: try again")
		return
	}
	r = r.Clone(admin.WithCaller(r.Context(), in.caller()))
	r.URL.Path = strings.TrimPrefix(r.URL.Path, "/api")
	r.URL.RawPath = ""
	s.methods.ServeHTTP(w, r)
}

// serveSession tells the page who it is.
func (s *Server) serveSession(w http.ResponseWriter, _ *http.Request, in *session) {
	writeJSON(w, http.StatusOK, struct {
		Name        string        `json:"name"`
		May         []admin.Right `json:"may"`
		Version     string        `json:"version"`
		Expires     time.Time     `json:"expires"`
		TrustDomain string        `json:"trustDomain"`
	}{in.name, in.may, s.config.Version, in.expires.UTC(), s.config.TrustDomain})
}

// serveLogout ends the session, and its streams.
func (s *Server) serveLogout(w http.ResponseWriter, _ *http.Request, in *session) {
	s.sessions.end(in)
	s.config.Logger.Info("session of the dashboard ends", "session", in.name)
	http.SetCookie(w, s.cookie("", -1))
	w.WriteHeader(http.StatusNoContent)
}
