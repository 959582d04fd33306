package cli

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/api"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// trustRetry is the least time between two streams; the most is twice that, so that
// those who lost the same server do not come back at the same moment.
const trustRetry = 2 * time.Second

// followTrust hands on the trust bundle of the mesh, as xdsserver serves it, until
// ctx ends. A program that reads files hears of a new root by it, in time, and a
// rotation waits until it has.
//
// It asks for one resource by itself, the plainest way there is: the library's
// client, which knows the rest of the protocol, is for processes of the mesh.
func followTrust(
	ctx context.Context, conn grpc.ClientConnInterface, domain string, set func(*resource.TrustBundle), logger *slog.Logger,
) error {
	for {
		err := trustStream(ctx, conn, domain, set)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopped
		}
		logger.Warn("roots are not followed, and tried again", "error", err)
		timer := time.NewTimer(trustRetry + rand.N(trustRetry))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// trustStream follows the bundle over one stream, and returns why that ended.
func trustStream(ctx context.Context, conn grpc.ClientConnInterface, domain string, set func(*resource.TrustBundle)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	request := &discoveryv3.DiscoveryRequest{
		Node: &corev3.Node{
			Id:                   fmt.Sprintf("identity-fetch/%s/%d", host, os.Getpid()),
			UserAgentName:        "xdsserver identity fetch",
			UserAgentVersionType: &corev3.Node_UserAgentVersion{UserAgentVersion: api.Version},
		},
		TypeUrl:       resource.TrustBundleType,
		ResourceNames: []string{domain},
	}
	for {
		if err := stream.Send(request); err != nil {
			_, err = stream.Recv() // says why
			return err
		}
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		request.Node, request.ErrorDetail = nil, nil
		request.ResponseNonce = answer.GetNonce()
		if err := takeTrust(answer, domain, set); err != nil {
			request.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: err.Error()}
		} else {
			request.VersionInfo = answer.GetVersionInfo()
		}
	}
}

// takeTrust reads an answer. One without the bundle changes nothing: a process goes
// on with the roots it knows.
func takeTrust(answer *discoveryv3.DiscoveryResponse, domain string, set func(*resource.TrustBundle)) error {
	for _, r := range answer.GetResources() {
		decoded, err := resource.Decode(resource.TrustBundleType, r.GetValue())
		if err != nil {
			return err
		}
		if bundle, ok := decoded.(*resource.TrustBundle); ok && bundle.TrustDomain == domain {
			set(bundle)
		}
	}
	return nil
}
