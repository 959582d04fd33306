package admin

import (
	"errors"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// logins notes what it is asked for.
type logins struct {
	asked LoginRequest
	err   error
}

func (l *logins) create(r LoginRequest) (Login, error) {
	l.asked = r
	return Login{URL: "http://127.0.0.1:1/login?token=x", Expires: time.Unix(1, 0)}, l.err
}

func TestALoginHasAtMostTheRightsOfItsMaker(t *testing.T) {
	all := []Right{MayView, MayApply, MayTap, MayPayload}
	for name, test := range map[string]struct {
		caller  []Right
		may     []string
		session *durationpb.Duration
		want    []Right
		lasts   time.Duration
		code    connect.Code
	}{
		"nothing is said":                  {all, nil, nil, []Right{MayView, MayApply, MayTap}, 12 * time.Hour, 0},
		"some are named":                   {all, []string{"tap"}, durationpb.New(time.Hour), []Right{MayView, MayTap}, time.Hour, 0},
		"all are named":                    {all, []string{"payload", "tap", "apply", "view"}, nil, all, 12 * time.Hour, 0},
		"one is none":                      {all, []string{"login"}, nil, nil, 0, connect.CodeInvalidArgument},
		"messages without calls":           {all, []string{"payload"}, nil, nil, 0, connect.CodeInvalidArgument},
		"more than the maker has":          {[]Right{MayView, MayTap}, []string{"apply"}, nil, nil, 0, connect.CodePermissionDenied},
		"the default is more than it has":  {[]Right{MayView}, nil, nil, nil, 0, connect.CodePermissionDenied},
		"a session that lasts too long":    {all, nil, durationpb.New(25 * time.Hour), nil, 0, connect.CodeInvalidArgument},
		"a session that is over at once":   {all, nil, durationpb.New(0), nil, 0, connect.CodeInvalidArgument},
		"a session that ends before it is": {all, nil, durationpb.New(-time.Hour), nil, 0, connect.CodeInvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			l := &logins{}
			s := New(Config{Logins: l.create})
			ctx := WithCaller(t.Context(), Caller{Name: "user 7", May: test.caller})
			answer, err := s.CreateLogin(ctx, &adminv1.CreateLoginRequest{May: test.may, Session: test.session})
			if test.code != 0 {
				if connect.CodeOf(err) != test.code || l.asked.By != "" {
					t.Errorf("got %v, and %+v was asked for; want %v", err, l.asked, test.code)
				}
				return
			}
			if err != nil || answer.GetUrl() == "" {
				t.Fatalf("got %v, %v", answer, err)
			}
			if !slices.Equal(l.asked.May, test.want) || l.asked.Session != test.lasts || l.asked.By != "user 7" {
				t.Errorf("got %+v, want %v for %v by user 7", l.asked, test.want, test.lasts)
			}
		})
	}
	if _, err := New(Config{}).CreateLogin(t.Context(), &adminv1.CreateLoginRequest{}); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("without a dashboard: %v", err)
	}
	full := New(Config{Logins: (&logins{err: errors.New("too many")}).create})
	if _, err := full.CreateLogin(WithCaller(t.Context(), localUser()), &adminv1.CreateLoginRequest{}); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("when there are too many: %v", err)
	}
}
