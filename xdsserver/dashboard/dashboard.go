package dashboard

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
	"github.com/tulle-mesh/tulle/xdsserver/admin"
)

// Config is what a dashboard shows, and where. API and URL are required.
type Config struct {
	// API is the admin API.
	API adminv1connect.AdminServiceHandler
	// URL is how browsers reach the server: "http://127.0.0.1:18080", or
	// "https://mesh.test:18080"; cookies are for TLS alone where it is https.
	URL string
	// Hosts are the names and addresses that browsers may reach it by, beside that of
	// URL and those of loopback.
	Hosts []string
	// Fingerprint is the SHA-256 of the certificate that browsers are shown now, in hex,
	// where they do not know who signed it; nil or empty where there is no such.
	Fingerprint func() string
	// Version and TrustDomain are shown.
	Version, TrustDomain string
	// Audit is told who is let in, before it is done; an error is a reason not to. Nil is
	// told nothing.
	Audit func(event, what string) error
	// Logger is for the operator; nil means slog.Default(). No secret is logged.
	Logger *slog.Logger
}

// A Server is a dashboard. Its methods are safe for concurrent use.
type Server struct {
	// Immutable after New.
	config  Config
	scheme  string
	secure  bool
	hosts   map[string]bool
	methods http.Handler                      // of the API, for who a context says
	client  adminv1connect.AdminServiceClient // of methods, in process
	feed    *feed
	pages   func() *pages // what dist holds
	calls   chan struct{} // has room for those that may be answered now

	logins   logins
	sessions sessions
	warnings rate.Sometimes
}

// New returns a dashboard. Streams of events say nothing before Run.
func New(c Config) *Server {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Audit == nil {
		c.Audit = func(string, string) error { return nil }
	}
	if c.Fingerprint == nil {
		c.Fingerprint = func() string { return "" }
	}
	s := &Server{
		config:   c,
		hosts:    map[string]bool{},
		methods:  admin.Methods(c.API),
		feed:     newFeed(c.API, c.Logger),
		pages:    loadPages(),
		calls:    make(chan struct{}, maxCalls),
		warnings: rate.Sometimes{Interval: time.Second},
	}
	s.client = adminv1connect.NewAdminServiceClient(&http.Client{Transport: inside{handler: s.methods, panicked: func(p any) {
		c.Logger.Error("admin API panicked", "panic", p)
	}}}, "http://inside")
	if u, err := url.Parse(c.URL); err == nil {
		s.scheme, s.secure = u.Scheme, u.Scheme == "https"
		s.hosts[strings.ToLower(u.Hostname())] = true
	}
	for _, host := range c.Hosts {
		s.hosts[strings.ToLower(host)] = true
	}
	return s
}

// Run feeds the streams of events until ctx ends, which ends them too; it returns nil
// then. It may be called once.
func (s *Server) Run(ctx context.Context) error { return s.feed.run(ctx) }

// Handler serves the dashboard. Its server sets deadlines for headers and answers; streams
// set their own.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", s.serveLogin)
	mux.HandleFunc("GET /login.css", s.serveLoginStyle)
	mux.HandleFunc("POST /api/"+adminv1connect.AdminServiceName+"/{method}", s.within(s.serveMethod))
	mux.HandleFunc("GET /api/session", s.within(s.serveSession))
	mux.HandleFunc("POST /api/logout", s.within(s.serveLogout))
	mux.HandleFunc("GET /api/events", s.within(s.serveEvents))
	mux.HandleFunc("GET /api/tap", s.within(s.serveTap))
	mux.HandleFunc("/api/", s.within(func(w http.ResponseWriter, _ *http.Request, _ *session) {
		fail(w, http.StatusNotFound, "unimplemented", "the dashboard has no such method")
	}))
	mux.HandleFunc("/", s.servePage)
	return s.guard(mux)
}

// within lets only who has a session to a part of the API.
func (s *Server) within(next func(http.ResponseWriter, *http.Request, *session)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		in := s.session(r)
		if in == nil {
			fail(w, http.StatusUnauthorized, "unauthenticated", "the session is over, or there was none: run 'xdsserver dashboard'")
			return
		}
		if r.Method != http.MethodGet && r.Header.Get(requestHeader) == "" {
			fail(w, http.StatusForbidden, "permission_denied", "the header "+requestHeader+" is missing")
			return
		}
		next(w, r, in)
	}
}

// warn tells the operator what anybody can cause, once a second at most.
func (s *Server) warn(message string, args ...any) {
	s.warnings.Do(func() { s.config.Logger.Warn(message, args...) }) //nolint:sloglint // each caller's message is constant
}
