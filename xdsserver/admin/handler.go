package admin

import (
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

// maxRequest bounds one request; manifests are at most 4 MiB each.
const maxRequest = 16 << 20

// Handler serves the API to programs on this machine, over HTTP/1.1 and HTTP/2,
// as Connect, gRPC-Web and JSON.
//
// It must listen on loopback, or on a unix socket. Processes of other users are
// refused, and what a web page in the operator's browser can reach: requests from
// another origin, and requests for another host name (DNS rebinding). That it is
// up, /healthz and /readyz tell everybody on this machine.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	path, api := adminv1connect.NewAdminServiceHandler(s, connect.WithReadMaxBytes(maxRequest))
	mux.Handle(path, sameUser(api))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if s.config.Published() == nil {
			http.Error(w, "nothing is published yet", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	return sameHost(http.NewCrossOriginProtection().Handler(mux))
}

// sameHost refuses requests that were not made to this machine by its own name.
func sameHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "the admin API answers to localhost only", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// HTTPServer returns a server with limits that hold against slow and large
// requests.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler:           s.Handler(),
		ConnContext:       withPeer,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
}
