package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

const (
	defaultSession = 12 * time.Hour
	maxSession     = 24 * time.Hour
)

// A LoginRequest says who may come in by an address.
type LoginRequest struct {
	// By is who asked for it.
	By string
	// May are the rights of the session, MayView among them.
	May []Right
	// Session is how long it lasts.
	Session time.Duration
}

// A Login is an address that opens the dashboard once. URL holds a secret.
type Login struct {
	URL     string
	Expires time.Time
	// Fingerprint is the SHA-256 of the certificate that the browser is shown, in hex,
	// where it does not know who signed it; empty otherwise.
	Fingerprint string
}

// loginRights are those that a session may have, in the order they are shown.
var loginRights = []Right{MayView, MayApply, MayTap, MayPayload}

// CreateLogin implements the API.
func (s *Server) CreateLogin(ctx context.Context, req *adminv1.CreateLoginRequest) (*adminv1.CreateLoginResponse, error) {
	if s.config.Logins == nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("this server has no dashboard"))
	}
	caller, _ := CallerFrom(ctx)
	may, err := askedRights(caller, req.GetMay())
	if err != nil {
		return nil, err
	}
	session := defaultSession
	if d := req.GetSession(); d != nil {
		if session = d.AsDuration(); session <= 0 || session > maxSession {
			return nil, connect.NewError(connect.CodeInvalidArgument,
				fmt.Errorf("a session of %v cannot be: want more than nothing and at most %v", session, maxSession))
		}
	}
	login, err := s.config.Logins(LoginRequest{By: caller.Name, May: may, Session: session})
	if err != nil {
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	return &adminv1.CreateLoginResponse{Url: login.URL, Expires: moment(login.Expires), Fingerprint: login.Fingerprint}, nil
}

// askedRights are the rights that a request names, and MayView.
func askedRights(caller Caller, names []string) ([]Right, error) {
	if len(names) == 0 {
		names = []string{string(MayView), string(MayApply), string(MayTap)}
	}
	for _, name := range names {
		if !slices.Contains(loginRights, Right(name)) {
			return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("%q is no right, want view, apply, tap or payload", name))
		}
		if !caller.Can(Right(name)) {
			return nil, connect.NewError(connect.CodePermissionDenied, fmt.Errorf("%s has not the right %q itself", caller.Name, name))
		}
	}
	if slices.Contains(names, string(MayPayload)) && !slices.Contains(names, string(MayTap)) {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("payload without tap is worth nothing: add tap"))
	}
	return slices.DeleteFunc(slices.Clone(loginRights), func(r Right) bool {
		return r != MayView && !slices.Contains(names, string(r))
	}), nil
}
