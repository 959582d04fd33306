package admin

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/xdsserver/tap"
)

// logFor is how long a log command lasts that does not say.
const logFor = 10 * time.Minute

// SetLog implements the API.
func (s *Server) SetLog(ctx context.Context, req *adminv1.SetLogRequest) (*adminv1.SetLogResponse, error) {
	if s.config.Taps == nil {
		return nil, errNoTaps
	}
	name, err := s.commanded(req.GetService())
	if err != nil {
		return nil, err
	}
	caller, _ := CallerFrom(ctx)
	order := tap.LogRequest{
		Service: name, Instance: req.GetInstance(), Level: req.GetLevel(), Access: req.GetAccess(), Duration: logFor, By: caller.Name,
	}
	if req.GetDuration() != nil {
		order.Duration = req.GetDuration().AsDuration()
	}
	until, processes, err := s.config.Taps.SetLog(order)
	if err != nil {
		return nil, tapError(err)
	}
	entry := s.entry(caller, name, req.GetInstance())
	entry.Event = eventLogSet
	entry.Reason = fmt.Sprintf("level %q, access %v, until %s", order.Level, order.Access, until.UTC().Format(time.RFC3339))
	if order.Duration == 0 {
		entry.Reason = "as before"
	}
	s.audit(entry)
	return &adminv1.SetLogResponse{Until: timestamppb.New(until), Processes: int32(processes)}, nil
}
