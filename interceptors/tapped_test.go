package interceptors_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/interceptors/accesslog"
	"github.com/tulle-mesh/tulle/interceptors/trace"
	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/tap"
)

// A listener is an xdsserver that takes what taps see.
type listener struct {
	grpc.ClientConnInterface

	mu     sync.Mutex
	events []*tapv1.Event
}

func (l *listener) Invoke(_ context.Context, _ string, req, _ any, _ ...grpc.CallOption) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, req.(*tapv1.ReportRequest).GetEvents()...)
	return nil
}

// lines are the events, each as one line; messages stand behind it.
func (l *listener) lines() []string {
	time.Sleep(time.Second)
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, e := range l.events {
		line := fmt.Sprintf("%s %s>%s %s %s#%d %s %s", e.GetSide(), e.GetSource(), e.GetDestination(), e.GetMethod(), e.GetCluster(), e.GetAttempt(), e.GetEndpoint(), e.GetStatus())
		if e.GetReason() != "" {
			line += " " + e.GetReason()
		}
		if e.GetWhy() != "" {
			line += " because " + e.GetWhy()
		}
		line += fmt.Sprintf(" %d/%d", e.GetMessagesSent(), e.GetMessagesReceived())
		for _, m := range e.GetMessages() {
			line += fmt.Sprintf(" %v:%s", m.GetRequest(), m.GetJson())
		}
		all = append(all, line)
	}
	l.events = nil
	return all
}

// tapping runs taps of a process that are open for all of its calls, in a bubble.
func tapping(t *testing.T, service string) (*tap.Taps, *listener) {
	t.Helper()
	l := &listener{}
	taps := tap.New(tap.Config{Service: service, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = taps.Run(ctx, l) })
	t.Cleanup(func() { cancel(); running.Wait() })
	taps.Set([]resource.Tap{{ID: "t", MaxRPS: 1000, Payload: true, Until: time.Now().Add(time.Hour)}})
	return taps, l
}

func TestWhoTapsSeesEachAttempt(t *testing.T) {
	const to = "client web>voting " + method + " voting/v2#"
	because := func(then func(context.Context, *call.Call) error) func(context.Context, *call.Call) error {
		return picked(func(ctx context.Context, rpc *call.Call) error {
			if !rpc.Explain {
				return fmt.Errorf("attempt %d need not be explained", rpc.Attempt)
			}
			rpc.Why = fmt.Sprint("reason ", rpc.Attempt)
			return then(ctx, rpc)
		})
	}
	for _, tt := range []struct {
		name   string
		config *configs
		steps  []func(context.Context, *call.Call) error
		want   []string
	}{
		{
			"a call that is answered", voting(),
			[]func(context.Context, *call.Call) error{because(answers)},
			[]string{to + `0 endpoint-0 OK because reason 0 1/1 true:"ask" false:"yes"`},
		},
		{
			"one that is tried again", voting(traffic(retried(2))),
			[]func(context.Context, *call.Call) error{because(fails(codes.Unavailable)), because(answers)},
			[]string{
				to + `0 endpoint-0 UNAVAILABLE because reason 0 1/0 true:"ask"`,
				to + `1 endpoint-1 OK because reason 1 1/1 true:"ask" false:"yes"`,
			},
		},
		{
			"one for which there was no endpoint", voting(traffic(retried(1))),
			[]func(context.Context, *call.Call) error{refuses(call.NoEndpoint)},
			[]string{to + `0  UNAVAILABLE NO_ENDPOINT 1/0 true:"ask"`},
		},
		{
			"one that is refused", voting(faulty(resource.Fault{AbortPerMillion: all, AbortCode: codes.Aborted})), nil,
			[]string{to + `0  ABORTED FAULT_INJECTED 0/0`},
		},
		{
			"one that is hedged", voting(traffic(func(t *resource.Traffic) {
				t.Retry.Idempotent = true
				t.Hedge = &resource.Hedge{Delay: time.Millisecond, Attempts: 2}
			})),
			[]func(context.Context, *call.Call) error{because(hangs), because(answers)},
			[]string{
				to + `1 endpoint-1 OK because reason 1 1/1 true:"ask" false:"yes"`,
				to + `0 endpoint-0 CANCELLED because reason 0 1/0 true:"ask"`,
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				taps, l := tapping(t, "web")
				client := interceptors.NewClient(interceptors.ClientConfig{Configs: tt.config, Taps: taps})
				_ = client.Unary(t.Context(), method, wrapperspb.String("ask"), new(wrapperspb.StringValue), nil, func(
					ctx context.Context, _ string, _, reply any, _ *grpc.ClientConn, _ ...grpc.CallOption,
				) error {
					rpc := call.FromContext(ctx) // hedges run beside each other
					rpc.Try(fmt.Sprint("endpoint-", rpc.Attempt))
					err := tt.steps[min(int(rpc.Attempt), len(tt.steps)-1)](ctx, rpc)
					if err == nil {
						reply.(*wrapperspb.StringValue).Value = "yes"
					}
					return err
				})
				if diff := cmp.Diff(tt.want, l.lines()); diff != "" {
					t.Errorf("seen (-want +got):\n%s", diff)
				}
				taps.Set(nil)
				rpcs := 0
				_ = client.Unary(t.Context(), method, wrapperspb.String(""), new(wrapperspb.StringValue), nil, ends(func(ctx context.Context) error {
					if rpcs++; call.FromContext(ctx).Explain {
						t.Error("nobody taps, and the call is to be explained")
					}
					return nil
				}))
				if got := l.lines(); len(got) > 0 {
					t.Errorf("nobody taps, and it is seen: %v", got)
				}
			})
		})
	}
}

func TestWhoTapsSeesTheMessagesOfStreams(t *testing.T) {
	const to = "client web>voting " + method + " voting/v2#"
	one := func(s grpc.ServerStream) error {
		if err := after(1, codes.OK)(s); err != nil {
			return err
		}
		return s.SendMsg(wrapperspb.String("one"))
	}
	for _, tt := range []struct {
		name     string
		desc     *grpc.StreamDesc
		config   *configs
		handlers []func(grpc.ServerStream) error
		want     []string
	}{
		{"both ways", bidi, voting(), []func(grpc.ServerStream) error{parrot}, []string{to + `0 10.0.0.1:80 OK 1/1 true:"a" false:"a"`}},
		{"one answer", asks, voting(), []func(grpc.ServerStream) error{one}, []string{to + `0 10.0.0.1:80 OK 1/1 true:"a" false:"one"`}},
		{
			"one that is opened again", bidi, voting(traffic(retried(2))),
			[]func(grpc.ServerStream) error{after(1, codes.Unavailable), parrot},
			[]string{to + `0 10.0.0.1:80 UNAVAILABLE 1/0 true:"a"`, to + `1 10.0.0.1:80 OK 0/1 false:"a"`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				taps, l := tapping(t, "web")
				conn, _ := dialBackendBy(t, interceptors.NewClient(interceptors.ClientConfig{Configs: tt.config, Taps: taps}), tt.handlers...)
				s := newStream(t, conn, tt.desc)
				send(t, s, "a")
				if err := s.CloseSend(); err != nil {
					t.Fatal(err)
				}
				if tt.desc.ServerStreams {
					_, _ = rest(s)
				} else if err := s.RecvMsg(new(wrapperspb.StringValue)); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, l.lines()); diff != "" {
					t.Errorf("seen (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestWhoTapsSeesWhatIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taps, l := tapping(t, "voting")
		p := newPolicies(anyoneMay(t))
		server := interceptors.NewServer(interceptors.ServerConfig{Service: "voting", Policies: p, Taps: taps, Logger: slog.New(slog.DiscardHandler)})
		s := serveBy(t, server, peerOf(t, web, time.Hour), answer, echo)
		if err := s.vote(t.Context(), method); err != nil {
			t.Fatal(err)
		}
		stream := s.watch(t)
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		_, _ = rest(stream)
		p.set(noneMay(t))
		_ = s.vote(t.Context(), method)
		want := []string{
			`server web>voting ` + method + ` #0 bufconn OK 1/1 true:"" false:"yes"`,
			`server web>voting /voting.v1.Voting/Watch #0 bufconn OK 1/1 true:"" false:""`,
			`server web>voting ` + method + ` #0 bufconn PERMISSION_DENIED ACCESS_DENIED 0/0`,
		}
		if diff := cmp.Diff(want, l.lines()); diff != "" {
			t.Errorf("seen (-want +got):\n%s", diff)
		}
	})
}

func TestTheAccessLogHasALineForACall(t *testing.T) {
	var b bytes.Buffer
	log := accesslog.New(slog.New(slog.NewJSONHandler(&b, nil)))
	lines := func() (all []map[string]any) {
		for line := range strings.Lines(b.String()) {
			m := map[string]any{}
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			for _, k := range []string{"time", "took", "level"} {
				delete(m, k)
			}
			all = append(all, m)
		}
		b.Reset()
		return all
	}
	tracer := trace.New(nil)
	client := interceptors.NewClient(interceptors.ClientConfig{Configs: voting(traffic(retried(2))), Log: log, Tracer: tracer})
	server := interceptors.NewServer(interceptors.ServerConfig{Service: "voting", Policies: newPolicies(noneMay(t)), Log: log, Tracer: tracer, Logger: slog.New(slog.DiscardHandler)})
	calls := func() {
		ctx := metadata.NewIncomingContext(calledBy(t.Context(), peerOf(t, web, time.Hour)),
			metadata.Pairs("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "grpc-previous-rpc-attempts", "1"))
		_, _ = server.Unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, taken)
		_ = client.Unary(t.Context(), method, nil, nil, nil, steps(picked(fails(codes.Unavailable)), picked(answers)).invoke)
	}
	calls()
	if got := lines(); len(got) > 0 {
		t.Errorf("it is off, and says %v", got)
	}
	log.Sample(1)
	calls()
	got := lines()
	for _, m := range got {
		delete(m, "error")
	}
	want := []map[string]any{
		{
			"msg": "call served", "caller": web, "method": method, "code": "PERMISSION_DENIED", "attempts": 2.0,
			"trace": "0af7651916cd43dd8448eb211c80319c", "reason": "ACCESS_DENIED",
		},
		{"msg": "call made", "service": "voting", "method": method, "code": "OK", "attempts": 2.0, "endpoint": "endpoint-1"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
