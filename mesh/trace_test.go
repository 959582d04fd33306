package mesh_test

import (
	"context"
	"testing"
	"testing/synctest"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/mesh/meshtest"
)

const traceCame = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// traced answers with the parent that it was called with, or with that which its own call
// to next had.
func traced(next func() *grpc.ClientConn) func(grpc.ServiceRegistrar) {
	return func(s grpc.ServiceRegistrar) {
		s.RegisterService(&grpc.ServiceDesc{
			ServiceName: "tulle.test.Name",
			HandlerType: (*any)(nil),
			Methods: []grpc.MethodDesc{{
				MethodName: "Name",
				Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
					if err := decode(new(wrapperspb.StringValue)); err != nil {
						return nil, err
					}
					if next != nil {
						answer, err := ask(ctx, next())
						return wrapperspb.String(answer), err
					}
					md, _ := metadata.FromIncomingContext(ctx)
					return wrapperspb.String(append(md.Get("traceparent"), "none")[0]), nil
				},
			}},
		}, struct{}{})
	}
}

// web calls voting, whose handler calls emoji: nobody forwards anything by hand.
func TestATraceGoesDownTheChain(t *testing.T) {
	for _, tt := range []struct {
		name  string
		sent  string
		spans bool
		want  func(got string) bool
	}{
		{"there is none where none is", "", false, func(got string) bool { return got == "none" }},
		{"it is handed on where nobody traces", traceCame, false, func(got string) bool { return got == traceCame }},
		{"it has spans on the way where somebody does", traceCame, true, func(got string) bool { return got != traceCame && got[:35] == traceCame[:35] }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := meshtest.New(t)
				config := mesh.Config{Service: "voting"}
				r := tracetest.NewSpanRecorder()
				if tt.spans {
					config.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r))
				}
				m.Serve("emoji", traced(nil))
				var voting *meshtest.Instance
				var emoji *grpc.ClientConn
				voting = m.ServeAs(config, traced(func() *grpc.ClientConn { return emoji }))
				var err error
				if emoji, err = voting.Mesh.NewClient("mesh:///emoji"); err != nil {
					t.Fatal(err)
				}
				defer emoji.Close()
				ctx := t.Context()
				if tt.sent != "" {
					ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", tt.sent)
				}
				got, err := ask(ctx, m.Client("mesh:///voting"))
				if err != nil {
					t.Fatal(err)
				}
				if !tt.want(got) {
					t.Errorf("emoji is called with the parent %q", got)
				}
				synctest.Wait()
				if n := len(r.Ended()); n != map[bool]int{true: 2}[tt.spans] {
					t.Errorf("%d spans, want that of the call served and of the one made", n)
				}
			})
		})
	}
}
