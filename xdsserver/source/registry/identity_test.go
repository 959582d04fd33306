package registry

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

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
		"as a client, which has none":           {"client", voting("a", "127.0.0.1:1", func(r *registryv1.RegisterRequest) { r.Service = "client" }), true},
		"its own name in another namespace":     {"voting.shop", voting("a", "127.0.0.1:1"), true},
		"its own in its namespace":              {"voting.shop", voting("a", "127.0.0.1:1", func(r *registryv1.RegisterRequest) { r.Namespace = "shop" }), false},
		"without a service":                     {"", voting("a", "127.0.0.1:1"), true},
	} {
		t.Run(name, func(t *testing.T) {
			r := New(Config{Identify: func(context.Context) (string, error) { return test.own, nil }})
			s := &session{own: test.own, over: make(chan struct{})}
			_, err := r.handle(discard{}, s, test.request)
			if test.refused {
				if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "may not register an endpoint of") || len(r.Endpoints()) != 0 {
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
	ctx context.Context
}

func (c contextual) Context() context.Context { return c.ctx }

// What a stream of one's own cannot do either: become another's half-way, or take
// over what another service has registered.
func TestStreamStaysWithItsService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{Identify: func(context.Context) (string, error) { return "voting", nil }})
		p := h.process()
		stream := p.register(voting("a", "127.0.0.1:1"))
		if err := stream.Send(voting("a", "127.0.0.1:1", func(r *registryv1.RegisterRequest) { r.Service = "web" })); err != nil {
			t.Fatal(err)
		}
		_, err := stream.Recv()
		if want := `a process of "voting" may not register an endpoint of "web": it is not its service`; status.Code(err) != codes.PermissionDenied ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want PERMISSION_DENIED with %s", err, want)
		}
		if got := h.output().Endpoints; len(got) != 1 || got[0].Service.Name != "voting" {
			t.Errorf("got %v, want voting's alone", got)
		}
	})
}
