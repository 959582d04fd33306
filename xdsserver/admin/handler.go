package admin

import (
	"bytes"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

const (
	// maxRequest bounds one request; manifests are at most 4 MiB each.
	maxRequest = 16 << 20
	// answerWithin bounds the time from a request's header to the end of its answer; an
	// Apply waits for clients at most half of it. That of a stream is not bounded.
	answerWithin = time.Minute
	// maxConnections bounds the connections to one server: a dashboard holds two or three.
	// Further ones are closed at once.
	maxConnections = 2048
	// readWithin is how long who asked for a stream may leave a part of it unread.
	readWithin = 10 * time.Second
)

// Methods serves the methods of an implementation of the API, as Connect, gRPC-Web and
// JSON, at the paths that the protocol gives them. Who asks is who the request's context
// says ([WithCaller]), and may call what its rights are for.
func Methods(api adminv1connect.AdminServiceHandler) http.Handler {
	_, handler := adminv1connect.NewAdminServiceHandler(api, connect.WithReadMaxBytes(maxRequest), connect.WithInterceptors(gate{}))
	return handler
}

// Handler serves the API to programs on this machine, over HTTP/1.1 and HTTP/2. What is
// not the API's goes to rest, which decides for itself whom it answers; nil is nothing.
//
// Processes of other users are refused, and those of other machines; so is what a web
// page in the operator's browser can reach: requests from another origin, and requests
// for another host name (DNS rebinding). That it is up, /healthz and /readyz tell
// everybody.
func (s *Server) Handler(rest http.Handler) http.Handler {
	mux := http.NewServeMux()
	api := lasting(adminv1connect.AdminServiceTapProcedure, Methods(s))
	mux.Handle("/"+adminv1connect.AdminServiceName+"/", sameHost(http.NewCrossOriginProtection().Handler(sameUser(api))))
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
	if rest != nil {
		mux.Handle("/", rest)
	}
	return mux
}

// sameHost refuses requests that were not made to this machine by its own name.
func sameHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "the admin API answers to localhost only: use its unix socket (--admin unix://PATH)", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// lasting lets the answer of a method last for as long as it is read.
func lasting(procedure string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == procedure {
			w = &stream{ResponseWriter: w, control: http.NewResponseController(w)}
		}
		next.ServeHTTP(w, r)
	})
}

// A stream has its deadline before it: who stops reading is cut.
type stream struct {
	http.ResponseWriter

	control *http.ResponseController
}

// Write implements http.ResponseWriter.
func (s *stream) Write(b []byte) (int, error) {
	_ = s.control.SetWriteDeadline(time.Now().Add(readWithin)) // a writer without deadlines is one of a test
	return s.ResponseWriter.Write(b)
}

// Flush implements http.Flusher.
func (s *stream) Flush() { _ = s.control.Flush() }

// Unwrap is for http.ResponseController.
func (s *stream) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// crowd keeps the connections of a server within a bound. It is an http.Server's ConnState.
func crowd(most int64) func(net.Conn, http.ConnState) {
	var open atomic.Int64
	return func(c net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			if open.Add(1) > most {
				_ = c.Close() // the server finds it closed, and says so here
			}
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		case http.StateActive, http.StateIdle:
		}
	}
}

// HTTPServer returns a server of Handler with limits that hold against slow and large
// requests, slow readers and many connections.
func (s *Server) HTTPServer(rest http.Handler) *http.Server {
	return &http.Server{
		ConnState:         crowd(maxConnections),
		ErrorLog:          log.New(httpLog{s.config.Logger}, "", 0), //nolint:forbidigo // net/http takes no other, and this one ends in ours
		Handler:           s.Handler(rest),
		ConnContext:       withPeer,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      answerWithin,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
}

// httpLog is where net/http complains: about panics, which are ours, and about clients,
// which anybody can make it do.
type httpLog struct{ logger *slog.Logger }

// Write implements io.Writer.
func (l httpLog) Write(b []byte) (int, error) {
	text := string(bytes.TrimSpace(b))
	if strings.Contains(text, "panic") {
		l.logger.Error("handler of a request panicked", "error", text)
	} else {
		l.logger.Debug("request gone wrong", "error", text)
	}
	return len(b), nil
}
