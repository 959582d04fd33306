package registry

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	registryv1 "github.com/tulle-mesh/tulle/mesh/api/registry/v1"
)

func TestProcessRegistersItsOwnServiceOnly(t *testing.T) {
	for name, test := range map[string]struct {
		own     string
		request *registryv1.RegisterRequest
		refused bool
	}{
		"its own":                               {"voting", voting("a", "127.0.0.1:1"), false},
		"its own, with the namespace spelt out": {"voting", voting("a", "127.0.0.1:1", func(r *registryv1.RegisterRequest) { r.Namespace = "default" }), false},
		"another's":                             {"web", voting("a", "127.0.0.1:1"), true},
		"one of another namespace":              {"voting", voting("a", "127.0.0.1:1", func(r *registryv1.RegisterRequest) { r.Namespace = "shop" }), true},
		"a client's, which is none":             {"client", voting("a", "127.0.0.1:1"), true},
		"without a service":                     {"", voting("a", "127.0.0.1:1"), true},
	} {
		t.Run(name, func(t *testing.T) {
			r := New(Config{Identify: func(context.Context) (string, error) { return test.own, nil }})
			s := &session{own: test.own, over: make(chan struct{})}
			_, err := r.handle(discard{}, s, test.request)
			if test.refused {
				if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), `of "voting`) || len(r.Endpoints()) != 0 {
					t.Errorf("got %v and %d endpoints, want PERMISSION_DENIED and none", err, len(r.Endpoints()))
				}
				return
			}
			if err != nil || len(r.Endpoints()) != 1 {
				t.Errorf("got %v and %d endpoints, want one", err, len(r.Endpoints()))
			}
		})
	}
}

// discard is a stream whose answers nobody reads.
type discard struct{ registerStream }

func (discard) Send(*registryv1.RegisterResponse) error { return nil }

func TestStreamOfNobodyIsRefused(t *testing.T) {
	nobody := status.Error(codes.Unauthenticated, "nobody")
	r := New(Config{Identify: func(context.Context) (string, error) { return "", nobody }})
	if err := r.Register(contextual{ctx: t.Context()}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("got %v, want %v", err, nobody)
	}
}

type contextual struct {
	registerStream
	ctx context.Context //nolint:containedctx // a stream's own
}

func (c contextual) Context() context.Context { return c.ctx }
