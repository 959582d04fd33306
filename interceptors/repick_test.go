package interceptors_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/mesh/call"
)

// pickOnce is a policy that picks once, and then has a reason not to.
const pickOnce = "interceptors_test_once"

var errOnce = &call.Error{Service: "voting", Reason: call.MaxRequests, Code: codes.Unavailable, Detail: "one pick is all there is"}

func init() { // grpc asks for it: policies are registered before the first connection
	balancer.Register(base.NewBalancerBuilder(pickOnce, oncePickers{}, base.Config{}))
}

type oncePickers struct{}

func (oncePickers) Build(info base.PickerBuildInfo) balancer.Picker {
	p := &oncePicker{}
	for sc := range info.ReadySCs {
		p.conn = sc
	}
	return p
}

type oncePicker struct {
	conn  balancer.SubConn
	picks atomic.Int64
}

func (p *oncePicker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	rpc := call.FromContext(info.Ctx)
	if p.conn == nil {
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	}
	if p.picks.Add(1) > 1 {
		rpc.Failure = errOnce
		return balancer.PickResult{}, errOnce
	}
	rpc.Failure = nil
	return balancer.PickResult{SubConn: p.conn}, nil
}

// unavailable takes no call, which grpc may therefore try again.
func unavailable(any, grpc.ServerStream) error {
	return status.Error(codes.Unavailable, "not this one")
}

// grpc itself tries a stream again below the interceptor. Where it then finds no
// endpoint, the stream's messages fail with the mesh's reason, in whichever
// goroutine sends or receives them.
//
// It runs in real time: between two tries grpc waits for a timer with the stream
// locked, and a goroutine that waits for a lock holds virtual time still.
func TestAStreamThatIsTriedAgainExplains(t *testing.T) {
	listener := bufconn.Listen(1 << 16)
	srv := grpc.NewServer(grpc.UnknownServiceHandler(unavailable))
	var running sync.WaitGroup
	running.Go(func() { _ = srv.Serve(listener) })
	defer running.Wait()
	defer srv.Stop()

	client := interceptors.NewClient(interceptors.ClientConfig{Configs: voting()})
	target := manual.NewBuilderWithScheme("mesh")
	target.InitialState(resolver.State{Addresses: []resolver.Address{{Addr: "backend"}}})
	conn, err := grpc.NewClient("mesh:///voting",
		grpc.WithResolvers(target),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithStreamInterceptor(client.Stream),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"`+pickOnce+`": {}}], "methodConfig": [{"name": [{}], "retryPolicy": {
			"maxAttempts": 3, "initialBackoff": "0.001s", "maxBackoff": "0.1s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	stream, err := conn.NewStream(t.Context(), bidi, method)
	if err != nil {
		t.Fatal(err)
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		for range 100 {
			if err := stream.SendMsg(&emptypb.Empty{}); err != nil {
				return // io.EOF: RecvMsg says why
			}
		}
	})
	err = stream.RecvMsg(&emptypb.Empty{})
	sending.Wait()
	if !errors.Is(err, errOnce) {
		t.Errorf("got %v, want %v", err, errOnce)
	}
}
