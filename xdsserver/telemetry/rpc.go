package telemetry

import (
	"context"
	"math"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/tulle-mesh/tulle/mesh/api/access/v1"
)

// maxObservations bounds one report of AccessService.
const maxObservations = 1000

var _ accessv1.AccessServiceServer = (*Server)(nil)

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
	s.observe(service, req.GetObservations(), time.Now())
	s.tellDropped(id, time.Now())
	return &accessv1.ReportResponse{}, nil
}

// observe adds observations.
func (s *Server) observe(service string, observations []*accessv1.Observation, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	for _, o := range observations {
		r := s.row(service, key{caller: o.GetCaller(), address: o.GetAddress(), method: o.GetMethod()})
		if r == nil {
			s.dropped++
			continue
		}
		r.allowed = sum(r.allowed, o.GetAllowed())
		r.denied = sum(r.denied, o.GetDenied())
		r.wouldDeny = sum(r.wouldDeny, o.GetWouldDeny())
		s.settle(service, r, o.GetPolicy(), now)
	}
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

// tellDropped logs, once a minute, that callers found no room.
func (s *Server) tellDropped(reporter string, now time.Time) {
	s.mu.Lock()
	dropped, rows := s.dropped, s.total.rows
	if dropped == 0 || now.Sub(s.logged) < logEvery {
		s.mu.Unlock()
		return
	}
	s.dropped, s.logged = 0, now
	s.mu.Unlock()
	s.config.Logger.Warn("observed calls dropped, too many callers are known", "reporter", reporter, "dropped", min(dropped, math.MaxInt64), "rows", rows)
}
