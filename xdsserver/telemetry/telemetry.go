// Package telemetry takes what servers of the mesh have seen of their callers and
// keeps it in memory for an hour: for `authz suggest`, which writes a policy from
// it, and for `check`, which lists callers without a certificate.
//
//	t := telemetry.New(telemetry.Config{Identify: identify})
//	accessv1.RegisterAccessServiceServer(server, t)
//	callers := t.Callers("voting")
//
// Whose calls they are is what the reporter's certificate says. Counts come from
// the reporters, which may lie about their own service and no other. All of it is
// bounded: beyond the bounds methods become [Other], and then reports are dropped.
//
// It decides nothing and keeps nothing on disk: after a restart it knows what has
// been reported since.
package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/tulle-mesh/tulle/mesh/api/access/v1"
)

// Other is the method of calls whose own is not kept apart.
const Other = "other"

// Idle is how long a row stays after its last report.
const Idle = time.Hour

const (
	// maxObservations bounds one report, maxText each text in it, in bytes.
	maxObservations = 1000
	maxText         = 4 << 10
	// maxRows bounds the rows of one service, maxTotal those of all.
	maxRows  = 10_000
	maxTotal = 200_000
	// sweepEvery is the least time between two looks for idle rows.
	sweepEvery = time.Minute
)

// Config configures a Server.
type Config struct {
	// Identify says who reports: its canonical service and its SPIFFE id. Required.
	Identify func(ctx context.Context) (service, id string, err error)
	// Logger takes the server's few messages; nil means slog.Default().
	Logger *slog.Logger
}

// A Server takes reports. It is safe for concurrent use.
type Server struct {
	accessv1.UnimplementedAccessServiceServer

	config Config

	mu       sync.Mutex // nothing blocks under it
	services map[string]map[key]*row
	total    int
	swept    time.Time
}

var _ accessv1.AccessServiceServer = (*Server)(nil)

// A key tells rows of one service apart.
type key struct{ caller, address, method string }

type row struct {
	allowed, denied, wouldDeny uint64
	policy                     string
	seen                       time.Time
}

// New makes a Server. It starts nothing.
func New(c Config) *Server {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Server{config: c, services: make(map[string]map[key]*row)}
}

// Report implements accessv1.AccessServiceServer.
func (s *Server) Report(ctx context.Context, req *accessv1.ReportRequest) (*accessv1.ReportResponse, error) {
	service, id, err := s.config.Identify(ctx)
	if err != nil {
		return nil, err
	}
	if service == "" {
		return nil, status.Errorf(codes.PermissionDenied, "telemetry: %s is no service of the mesh, and has no callers to report", id)
	}
	if err := check(req); err != nil {
		return nil, err
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	dropped := 0
	for _, o := range req.GetObservations() {
		if !s.add(service, o, now) {
			dropped++
		}
	}
	if dropped > 0 {
		s.config.Logger.Warn("observed calls dropped, too many callers are known", "reporter", id, "dropped", dropped, "rows", s.total)
	}
	return &accessv1.ReportResponse{}, nil
}

// check refuses a report that is not in bounds as a whole: it is nobody's mistake
// but a broken or hostile reporter's.
func check(req *accessv1.ReportRequest) error {
	if n := len(req.GetObservations()); n > maxObservations {
		return status.Errorf(codes.InvalidArgument, "telemetry: %d observations in one report, %d are the most", n, maxObservations)
	}
	if bad(req.GetInstance()) {
		return status.Error(codes.InvalidArgument, "telemetry: instance is no text, or longer than 4 KiB")
	}
	for i, o := range req.GetObservations() {
		for _, text := range []string{o.GetCaller(), o.GetAddress(), o.GetMethod(), o.GetPolicy()} {
			if bad(text) {
				return status.Errorf(codes.InvalidArgument, "telemetry: observation %d holds what is no text, or longer than 4 KiB", i)
			}
		}
		if o.GetMethod() == "" {
			return status.Errorf(codes.InvalidArgument, "telemetry: observation %d names no method", i)
		}
	}
	return nil
}

// bad reports whether an operator's terminal or a table could not show the text.
func bad(text string) bool {
	if len(text) > maxText || !utf8.ValidString(text) {
		return true
	}
	for _, r := range text {
		if unicode.IsControl(r) {
			return true
		}
	}
	return false
}

// add adds to a row, and reports whether there was room for it. mu is held.
func (s *Server) add(service string, o *accessv1.Observation, now time.Time) bool {
	rows := s.services[service]
	if rows == nil {
		rows = make(map[key]*row)
		s.services[service] = rows
	}
	k := key{o.GetCaller(), o.GetAddress(), o.GetMethod()}
	r := rows[k]
	if r == nil && (len(rows) >= maxRows || s.total >= maxTotal) {
		k.method = Other
		if r = rows[k]; r == nil && (len(rows) >= 2*maxRows || s.total >= 2*maxTotal) {
			return false
		}
	}
	if r == nil {
		r = &row{}
		rows[k] = r
		s.total++
	}
	r.allowed += o.GetAllowed()
	r.denied += o.GetDenied()
	r.wouldDeny += o.GetWouldDeny()
	if o.GetPolicy() != "" {
		r.policy = o.GetPolicy()
	}
	r.seen = now
	return true
}

// sweep takes out idle rows, now and then. mu is held.
func (s *Server) sweep(now time.Time) {
	if now.Sub(s.swept) < sweepEvery {
		return
	}
	s.swept = now
	for service, rows := range s.services {
		for k, r := range rows {
			if now.Sub(r.seen) >= Idle {
				delete(rows, k)
				s.total--
			}
		}
		if len(rows) == 0 {
			delete(s.services, service)
		}
	}
}
