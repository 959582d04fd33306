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

// The times between two streams, each of which is drawn up to twice as long, so that
// those who lost the same server do not come back at the same moment.
const (
	// trustAgain is after a stream that served: xdsserver ends each in its time, so
	// that clients come back with the certificates they have meanwhile.
	trustAgain = 200 * time.Millisecond
	// trustRetry is after one that did not.
	trustRetry = 2 * time.Second
)

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
		served, err := trustStream(ctx, conn, domain, set)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopped
		}
		wait := trustAgain
		if !served {
			wait = trustRetry
			logger.Warn("roots are not followed, and tried again", "error", err)
		}
		timer := time.NewTimer(wait + rand.N(wait))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// trustStream follows the bundle over one stream, and returns whether that served,
// and why it ended.
func trustStream(
	ctx context.Context, conn grpc.ClientConnInterface, domain string, set func(*resource.TrustBundle),
) (served bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx, grpc.WaitForReady(true))
	if err != nil {
		return false, err
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
			return served, err
		}
		answer, err := stream.Recv()
		if err != nil {
			return served, err
		}
		served = true
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
