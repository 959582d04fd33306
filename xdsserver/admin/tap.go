package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/xdsserver/enrol"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/tap"
)

// TapMode is what may be tapped of a mesh at all, whoever asks.
type TapMode string

// The modes.
const (
	// TapOff is nothing.
	TapOff TapMode = "off"
	// TapMetadata is calls, without their messages. Empty means it, too.
	TapMetadata TapMode = "metadata"
	// TapPayload is messages, too.
	TapPayload TapMode = "payload"
)

// The events of the audit log that tell of taps.
const (
	eventTapOpened = "tap.opened"
	eventTapClosed = "tap.closed"
	eventLogSet    = "log.set"
)

// errNoTaps answers where there is no hub: a server in a test.
var errNoTaps = connect.NewError(connect.CodeFailedPrecondition, errors.New("this server tells processes nothing"))

// Tap implements the API.
func (s *Server) Tap(ctx context.Context, req *adminv1.TapRequest, stream *connect.ServerStream[adminv1.TapResponse]) error {
	return s.WatchCalls(ctx, req, stream.Send)
}

// WatchCalls is Tap for who streams by other means than Connect: it calls send, one at a
// time, until ctx ends, the tap is over or send fails, whose error it returns. A send
// that hangs must end by itself: while it does, events are dropped. The caller is that
// of ctx, and its rights are checked here. Errors are connect's.
func (s *Server) WatchCalls(ctx context.Context, req *adminv1.TapRequest, send func(*adminv1.TapResponse) error) error {
	if s.config.Taps == nil {
		return errNoTaps
	}
	caller, err := s.mayTap(ctx, req.GetPayload())
	if err != nil {
		return err
	}
	name, err := s.commanded(req.GetService())
	if err != nil {
		return err
	}
	watch, err := s.config.Taps.Open(tap.Request{
		Service: name, Instance: req.GetInstance(), To: req.GetTo(), From: req.GetFrom(), Method: req.GetMethod(),
		Metadata: req.GetMetadata(), Failures: req.GetFailures(), Payload: req.GetPayload(),
		MaxRPS: req.GetMaxRps(), Duration: req.GetDuration().AsDuration(), By: caller.Name,
	})
	if err != nil {
		return tapError(err)
	}
	began := time.Now()
	entry := s.entry(caller, name, req.GetInstance())
	entry.Event, entry.Reason = eventTapOpened, fmt.Sprintf("%s, until %s", watch, watch.Until().UTC().Format(time.RFC3339))
	defer func() {
		told, dropped := watch.Close()
		entry.Event = eventTapClosed
		entry.Reason = fmt.Sprintf("%s: %d events told, %d calls left out, in %v", watch, told, dropped, time.Since(began).Round(time.Second))
		s.audit(entry)
	}()
	// Nobody watches unseen: what cannot be written down is not done.
	if err := s.config.Audit.Append(entry); err != nil {
		return connect.NewError(connect.CodeUnavailable, fmt.Errorf("the audit log cannot be written, and nobody taps without it: %w", err))
	}
	return watchCalls(ctx, watch, send)
}

func watchCalls(ctx context.Context, watch *tap.Watch, send func(*adminv1.TapResponse) error) error {
	for {
		u, err := watch.Next(ctx)
		if ctx.Err() != nil || tap.IsOver(err) {
			return nil //nolint:nilerr // who asked has gone, or has seen it all
		}
		if err != nil {
			return tapError(err)
		}
		if err := send(&adminv1.TapResponse{
			Event: u.Event, Processes: int32(u.Tapping), Of: int32(u.Of), Dropped: u.Dropped, Until: timestamppb.New(u.Until),
		}); err != nil {
			return err
		}
	}
}

// mayTap returns who asks, if he may see calls, and messages where he wants them.
func (s *Server) mayTap(ctx context.Context, payload bool) (Caller, error) {
	caller, ok := CallerFrom(ctx)
	refuse := func(format string, args ...any) (Caller, error) {
		return caller, connect.NewError(connect.CodePermissionDenied, fmt.Errorf(format, args...))
	}
	switch {
	case s.config.Tap == TapOff:
		return refuse("this mesh is not tapped: xdsserver serves with --tap off")
	case payload && s.config.Tap != TapPayload:
		return refuse("messages are not shown in this mesh: xdsserver serves with --tap metadata, and --tap payload would show them")
	case payload && s.unread():
		return refuse("messages are not shown while the Mesh cannot be read, which says what to leave out of them: 'xdsserver check' says why")
	case !ok:
		return refuse("nobody says who asks")
	case !caller.Can(MayTap):
		return refuse("%s may not tap: the right %q is one of its own", caller.Name, MayTap)
	case payload && !caller.Can(MayPayload):
		return refuse("%s may tap, but not see messages: the right %q is one of its own", caller.Name, MayPayload)
	}
	return caller, nil
}

// unread reports whether there is a Mesh of which nobody knows what it says.
func (s *Server) unread() bool {
	p := s.config.Published()
	return p != nil && p.Set.Mesh != nil && p.Set.Mesh.Closed
}

// commanded reads the name of a service that has, or may have, processes to be told
// something.
func (s *Server) commanded(text string) (model.ServiceName, error) {
	name, err := model.ParseServiceName(text)
	if err != nil {
		return name, connect.NewError(connect.CodeInvalidArgument, err)
	}
	if p := s.config.Published(); name == model.ClientService || p != nil && p.Set.Services[name] != nil {
		return name, nil
	}
	// One that only calls is known from its connections.
	for _, stream := range s.config.Server.Ledger().Streams {
		if stream.Cluster == name.String() {
			return name, nil
		}
	}
	return name, connect.NewError(connect.CodeNotFound, fmt.Errorf(
		"no service is named %q, and no process of it is connected; 'xdsserver endpoints' lists all", text))
}

func tapError(err error) error {
	code := connect.CodeUnavailable
	if _, wrong := errors.AsType[*tap.RequestError](err); wrong {
		code = connect.CodeInvalidArgument
	} else if errors.Is(err, tap.ErrFull) {
		code = connect.CodeResourceExhausted
	}
	return connect.NewError(code, err)
}

// entry is one of the audit log about a service's processes.
func (s *Server) entry(caller Caller, name model.ServiceName, instance string) enrol.Entry {
	e := enrol.Entry{Peer: caller.Name, Identity: name.String(), Instance: instance}
	if s.config.Authority != nil {
		e.Identity = s.config.Authority.Trust().Domain().ServiceID(name.String())
	}
	return e
}

// audit writes an entry of what has happened already.
func (s *Server) audit(e enrol.Entry) {
	if err := s.config.Audit.Append(e); err != nil {
		s.config.Logger.Error("audit log cannot be written", "event", e.Event, "by", e.Peer, "reason", e.Reason, "error", err)
	}
}
