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
	"math"
	"slices"
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
	// maxRows bounds the rows of one service, maxTotal those of all. Beyond them a
	// new method is Other, for which there is as much room again.
	maxRows  = 10_000
	maxTotal = 200_000
	// maxBytes and maxTotalBytes bound what the same rows take, for texts may be
	// long: ordinary ones reach the limits on rows first.
	maxBytes      = 8 << 20
	maxTotalBytes = 128 << 20
	// rowBytes is what a row takes beside its texts, about.
	rowBytes = 200
	// sweepEvery is the least time between two looks for idle rows.
	sweepEvery = time.Minute
	// logEvery is the least time between two messages about dropped observations.
	logEvery = time.Minute
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
	services map[string]*table
	total    size
	swept    time.Time
	// dropped counts observations since logged, when that was last told.
	dropped uint64
	logged  time.Time
}

var _ accessv1.AccessServiceServer = (*Server)(nil)

// A size is what rows take.
type size struct{ rows, bytes int }

func (s *size) add(rows, bytes int) {
	s.rows += rows
	s.bytes += bytes
}

// A table holds the rows of one service.
type table struct {
	rows map[key]*row
	size size
}

// A key tells rows of one service apart.
type key struct{ caller, address, method string }

type row struct {
	allowed, denied, wouldDeny uint64
	policy                     string
	seen                       time.Time
}

// bytes is what the row takes with its key.
func (r *row) bytes(k key) int {
	return rowBytes + len(k.caller) + len(k.address) + len(k.method) + len(r.policy)
}

// New makes a Server. It starts nothing.
func New(c Config) *Server {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Server{config: c, services: make(map[string]*table)}
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
	if dropped, rows := s.take(service, req.GetObservations(), time.Now()); dropped > 0 {
		s.config.Logger.Warn("observed calls dropped, too many callers are known", "reporter", id, "dropped", dropped, "rows", rows)
	}
	return &accessv1.ReportResponse{}, nil
}

// take adds observations, and returns how many were dropped of these and others,
// when it is time to tell.
func (s *Server) take(service string, observations []*accessv1.Observation, now time.Time) (dropped uint64, rows int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	for _, o := range observations {
		if !s.add(service, o, now) {
			s.dropped++
		}
	}
	if s.dropped == 0 || now.Sub(s.logged) < logEvery {
		return 0, 0
	}
	dropped, s.dropped, s.logged = s.dropped, 0, now
	return dropped, s.total.rows
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
		if slices.ContainsFunc([]string{o.GetCaller(), o.GetAddress(), o.GetMethod(), o.GetPolicy()}, bad) {
			return status.Errorf(codes.InvalidArgument, "telemetry: observation %d holds what is no text, or longer than 4 KiB", i)
		}
		if o.GetMethod() == "" {
			return status.Errorf(codes.InvalidArgument, "telemetry: observation %d names no method", i)
		}
	}
	return nil
}

// bad reports whether an operator's terminal or a table could not show the text:
// control characters move the cursor, and others the direction of writing.
func bad(text string) bool {
	if len(text) > maxText || !utf8.ValidString(text) {
		return true
	}
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return true
		}
	}
	return false
}

// add adds to a row, and reports whether there was room for it. mu is held.
func (s *Server) add(service string, o *accessv1.Observation, now time.Time) bool {
	t := s.services[service]
	if t == nil {
		t = &table{rows: make(map[key]*row)}
		s.services[service] = t
	}
	k := key{caller: o.GetCaller(), method: o.GetMethod()}
	if k.caller == "" {
		k.address = o.GetAddress()
	}
	r := t.rows[k]
	if r == nil && s.full(t, 1) {
		k.method = Other
		r = t.rows[k]
	}
	if r == nil {
		if s.full(t, 2) {
			return false
		}
		r = &row{}
		t.rows[k] = r
		s.grow(t, 1, r.bytes(k))
	}
	r.allowed = sum(r.allowed, o.GetAllowed())
	r.denied = sum(r.denied, o.GetDenied())
	r.wouldDeny = sum(r.wouldDeny, o.GetWouldDeny())
	if more := len(o.GetPolicy()) - len(r.policy); o.GetPolicy() != "" && (more <= 0 || !s.full(t, 2)) {
		r.policy = o.GetPolicy()
		s.grow(t, 0, more)
	}
	r.seen = now
	return true
}

// full reports whether the rows of a table, or all, have reached so many times
// their bounds.
func (s *Server) full(t *table, times int) bool {
	return t.size.rows >= times*maxRows || t.size.bytes >= times*maxBytes ||
		s.total.rows >= times*maxTotal || s.total.bytes >= times*maxTotalBytes
}

func (s *Server) grow(t *table, rows, bytes int) {
	t.size.add(rows, bytes)
	s.total.add(rows, bytes)
}

// sum adds counts of which one may be a lie: it stays at the largest.
func sum(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}

// sweep takes out idle rows, now and then. mu is held.
func (s *Server) sweep(now time.Time) {
	if now.Sub(s.swept) < sweepEvery {
		return
	}
	s.swept = now
	for service, t := range s.services {
		for k, r := range t.rows {
			if r.idle(now) {
				delete(t.rows, k)
				s.grow(t, -1, -r.bytes(k))
			}
		}
		if len(t.rows) == 0 {
			delete(s.services, service)
		}
	}
}

func (r *row) idle(now time.Time) bool { return now.Sub(r.seen) >= Idle }
