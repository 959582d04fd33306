package interceptors_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/interceptors/access/accesstest"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

func TestServerTakesWhatIsAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPolicies(accesstest.Inbound(t, accesstest.Rules{Allow: map[string]accesstest.Rule{
			"default/voting/allow/0": {From: web, Method: "/voting.v1.Voting/*"},
		}}))
		for _, tt := range []struct {
			name, caller, method string
			want                 codes.Code
			text                 string
		}{
			{"a call that is allowed", web, method, codes.OK, ""},
			{"a call by somebody else", web + "-2", method, codes.PermissionDenied, `no rule of policy "voting" allows it`},
			{"a method that is not there, and allowed", web, "/voting.v1.Voting/Nothing", codes.Unimplemented, "/voting.v1.Voting/Nothing"},
			{"a method that is not there", web, "/other.v1.Other/Nothing", codes.PermissionDenied, "/other.v1.Other/Nothing"},
			{"a method of another form", web, "/voting.v1.Voting/Vote/Vote", codes.PermissionDenied, "no policy"},
		} {
			s := serve(t, p, peerOf(t, tt.caller, time.Hour), echo)
			err := s.vote(t.Context(), tt.method)
			if status.Code(err) != tt.want || !strings.Contains(status.Convert(err).Message(), tt.text) {
				t.Errorf("%s: got %v, want %v that says %q", tt.name, err, tt.want, tt.text)
			}
		}
		s := serve(t, p, nil, echo)
		if err := s.vote(t.Context(), method); status.Code(err) != codes.Unauthenticated {
			t.Errorf("a caller without an identity: got %v", err)
		}
	})
}

func TestADeniedCallIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guarded := newServer(newPolicies(noneMay(t))).Guard(&grpc.ServiceDesc{
			ServiceName: "voting.v1.Voting",
			Methods:     []grpc.MethodDesc{{MethodName: "Vote", Handler: answer}},
		})
		_, err := guarded.Methods[0].Handler(nil, calledBy(t.Context(), peerOf(t, web, time.Hour)), func(any) error {
			t.Error("the request was read")
			return nil
		}, nil)
		if e := call.AsError(err); e == nil || e.Reason != call.AccessDenied || e.Code != codes.PermissionDenied {
			t.Errorf("got %v", err)
		}
	})
}

func TestCallsWaitForTheFirstPolicy(t *testing.T) {
	for _, tt := range []struct {
		name     string
		comes    time.Duration // zero is never
		deadline time.Duration
		after    time.Duration
		want     codes.Code
	}{
		{"and go on when it comes", time.Second, time.Minute, time.Second, codes.OK},
		{"but not for ever", 0, time.Minute, 5 * time.Second, codes.Unavailable},
		{"nor longer than they have", 0, 2 * time.Second, 2 * time.Second, codes.Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPolicies(nil)
				if tt.comes > 0 {
					time.AfterFunc(tt.comes, func() { p.set(anyoneMay(t)) })
				}
				ctx, cancel := context.WithTimeout(calledBy(t.Context(), peerOf(t, web, time.Hour)), tt.deadline)
				defer cancel()
				began := time.Now()
				_, err := newServer(p).Unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, taken)
				if status.Code(err) != tt.want || time.Since(began) != tt.after {
					t.Errorf("got %v after %v, want %v after %v", err, time.Since(began), tt.want, tt.after)
				}
				if e := call.AsError(err); err != nil && (e == nil || e.Reason != call.NoPolicy ||
					!strings.Contains(err.Error(), "voting has no access policy yet: it waits for the test")) {
					t.Errorf("it says %v", err)
				}
			})
		})
	}
}

func taken(context.Context, any) (any, error) { return nil, nil }

func TestTheServerCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPolicies(anyoneMay(t))
		s := serve(t, p, peerOf(t, web, time.Hour), echo)
		if err := s.vote(t.Context(), method); err != nil {
			t.Fatal(err)
		}
		if err := s.vote(t.Context(), "/made.up/Method"); status.Code(err) != codes.Unimplemented {
			t.Fatal(err)
		}
		p.set(noneMay(t))
		if err := s.vote(t.Context(), method); status.Code(err) != codes.PermissionDenied {
			t.Fatal(err)
		}
		got := map[string]float64{}
		s.server.Ledger().Samples(func(s telemetry.Sample) { got[s.Attributes[2].Value+" "+s.Attributes[3].Value] += s.Value })
		want := map[string]float64{"other allowed": 1, method + " allowed": 1, method + " denied": 1}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("counted (-want +got):\n%s", diff)
		}
	})
}

func TestAServerRunsOnce(t *testing.T) {
	s := newServer(newPolicies(nil))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := s.Run(ctx); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("again: %v", err)
	}
}
