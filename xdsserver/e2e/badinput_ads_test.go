package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	statuspb "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/tulle-mesh/tulle/mesh"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// An adsStream is a client that follows no rules but those the test makes.
type adsStream struct {
	discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	t    *testing.T
	node *corev3.Node
}

// ads opens a stream on a connection of its own. It ends with the test, and after 30
// seconds.
func (s *server) ads(t *testing.T, id string) *adsStream {
	t.Helper()
	return s.adsFor(t, id, 30*time.Second)
}

// adsFor is ads for a longer test.
func (s *server) adsFor(t *testing.T, id string, within time.Duration) *adsStream {
	t.Helper()
	conn, err := grpc.NewClient(s.mesh, grpc.WithTransportCredentials(s.credentials(t, "hostile")), grpc.WithStaticStreamWindowSize(64<<10))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &adsStream{t: t, AggregatedDiscoveryService_StreamAggregatedResourcesClient: stream, node: &corev3.Node{Id: id, Cluster: id}}
}

// ask sends a request; the error of a stream that has ended comes from Recv.
func (a *adsStream) ask(req *discoveryv3.DiscoveryRequest) {
	a.t.Helper()
	req.Node = a.node
	if err := a.Send(req); err != nil && !errors.Is(err, io.EOF) {
		a.t.Fatal(err)
	}
}

// next returns the next response.
func (a *adsStream) next() *discoveryv3.DiscoveryResponse {
	a.t.Helper()
	answer, err := a.Recv()
	if err != nil {
		a.t.Fatal(err)
	}
	return answer
}

// underLoad is a server with a service that is called all the time by the route
// it returns the way to change. check ends the load and tells whether it suffered.
func underLoad(t *testing.T) (s *server, sendTo func(version string), check func()) {
	t.Helper()
	s = startServer(t)
	s.echo(t, "voting", "v1")
	s.echo(t, "voting", "v2")
	s.awaitEndpoints(t, "voting", 2)
	conn := dial(t, s.join(t, mesh.Config{}), "mesh:///voting")
	sendTo = func(version string) {
		t.Helper()
		s.apply(t, onlyVersion(version))
		eventually(t, 15*time.Second, "calls go to "+version, func(ctx context.Context) bool {
			got, _, err := where(ctx, conn)
			return err == nil && got == version
		})
	}
	sendTo("v1")
	load := startLoad(t, conn, 200)
	return s, sendTo, func() {
		t.Helper()
		sendTo("v2")
		load.mustNotHaveFailed(t)
	}
}

// What no client should send ends its stream with what was wrong and what to do.
// Others go on.
func TestHostileADSRequestsEndTheirStreamOnly(t *testing.T) {
	s, _, check := underLoad(t)
	names := make([]string, 100_000)
	for i := range names {
		names[i] = fmt.Sprintf("%05d", i)
	}
	const secret = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	for _, test := range []struct {
		name string
		req  *discoveryv3.DiscoveryRequest
		code codes.Code
		says []string
	}{
		{"an unknown type", &discoveryv3.DiscoveryRequest{TypeUrl: secret}, codes.InvalidArgument, []string{secret, "not served", resource.ClusterType}},
		{
			"a request of 1 MB",
			&discoveryv3.DiscoveryRequest{TypeUrl: resource.ClusterType, VersionInfo: strings.Repeat("x", 1<<20)},
			codes.ResourceExhausted,
			[]string{"at most 1048576", "fewer names"},
		},
		{
			"a request of 50 MB",
			&discoveryv3.DiscoveryRequest{TypeUrl: resource.ClusterType, VersionInfo: strings.Repeat("x", 50<<20)},
			codes.ResourceExhausted,
			[]string{"larger than max"},
		},
		{
			"100,000 names",
			&discoveryv3.DiscoveryRequest{TypeUrl: resource.EndpointsType, ResourceNames: names},
			codes.ResourceExhausted,
			[]string{"more than 10000", "fewer"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			stream := s.ads(t, "hostile")
			stream.ask(test.req)
			_, err := stream.Recv()
			if status.Code(err) != test.code || !containsAll(status.Convert(err).Message(), test.says...) {
				t.Errorf("ended with %v, want %v and %q", err, test.code, test.says)
			}
		})
	}
	t.Run("bytes that are no HTTP/2", func(t *testing.T) {
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", s.mesh)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, strings.Repeat("GET / HTTP/1.1\r\n", 4096)) // it may be cut off
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the connection is still open")
		}
	})
	check()
}

// An answer with the nonce of an earlier response says nothing of the last: it is
// not answered, and the stream goes on.
func TestStaleNonceIsIgnored(t *testing.T) {
	s, sendTo, check := underLoad(t)
	stream := s.ads(t, "confused")
	ask := func(nonce string) {
		stream.ask(&discoveryv3.DiscoveryRequest{TypeUrl: resource.RouteType, ResourceNames: []string{"voting"}, ResponseNonce: nonce})
	}
	ask("")
	first := stream.next()
	ask(first.GetNonce())
	sendTo("v2")
	second := stream.next()
	for _, stale := range []string{first.GetNonce(), "nonsense", strings.Repeat("9", 1000), first.GetNonce()} {
		ask(stale)
	}
	ask(second.GetNonce())
	sendTo("v1")
	third := stream.next()
	if third.GetVersionInfo() == second.GetVersionInfo() {
		t.Error("a stale nonce was answered with what was sent already")
	}
	ask(third.GetNonce())
	check()
}

// What a client refuses is shown with who and why. It is not sent to that client
// again; the next change is, and all is well when that is accepted.
func TestRefusalOfAClientIsShown(t *testing.T) {
	s, sendTo, check := underLoad(t)
	stream := s.ads(t, "picky")
	ask := func(answer *discoveryv3.DiscoveryResponse, refuse string) {
		req := &discoveryv3.DiscoveryRequest{TypeUrl: resource.RouteType, ResourceNames: []string{"voting"}, ResponseNonce: answer.GetNonce()}
		if refuse != "" {
			req.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: refuse}
		} else {
			req.VersionInfo = answer.GetVersionInfo()
		}
		stream.ask(req)
	}
	ask(nil, "")
	refused := stream.next()
	const reason = `RouteConfiguration "voting": I do not like it`
	ask(refused, reason)
	eventually(t, 15*time.Second, "check tells of it", func(context.Context) bool {
		code, out := s.run(t, "check")
		return code == 1 && containsAll(out, "× no client refused", "picky refused RouteConfiguration", reason)
	})
	sendTo("v2")
	next := stream.next()
	if next.GetVersionInfo() == refused.GetVersionInfo() {
		t.Error("what was refused was sent again")
	}
	ask(next, "")
	eventually(t, 15*time.Second, "check is content again", func(context.Context) bool {
		code, _ := s.run(t, "check")
		return code == 0
	})
	sendTo("v1")
	check()
}

// Clients that ask for more than their window holds, and never read, cost the
// others nothing and do not keep the server from stopping.
func TestClientsThatNeverReadHarmNobody(t *testing.T) {
	s, sendTo, check := underLoad(t)
	s.apply(t, services(400))
	const clients = 50
	for i := range clients {
		deaf := s.ads(t, fmt.Sprintf("deaf-%d", i))
		for _, typeURL := range []string{resource.ClusterType, resource.ListenerType} {
			deaf.ask(&discoveryv3.DiscoveryRequest{TypeUrl: typeURL, ResourceNames: []string{"*"}})
		}
	}
	eventually(t, 15*time.Second, "they are connected and behind", func(ctx context.Context) bool {
		status, err := s.api.GetStatus(ctx, &adminv1.GetStatusRequest{})
		behind := 0
		for _, c := range status.GetClients() {
			if strings.HasPrefix(c.GetNode(), "deaf-") && !c.GetCurrent() {
				behind++
			}
		}
		return err == nil && behind == clients
	})
	for i := range 10 {
		sendTo([]string{"v2", "v1"}[i%2])
	}
	check()
	s.stop(t)
}
