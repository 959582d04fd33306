package identity

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
)

// open lists the methods that may be called without a certificate. What is not in
// it, now or one day, may not.
var open = map[string]bool{
	identityv1.IdentityService_Sign_FullMethodName: true,
}

// Interceptors returns what refuses every method but IdentityService/Sign to a
// caller without a certificate, and every one to a caller whose has expired since
// the handshake. Both belong first in their chains.
func Interceptors() (grpc.UnaryServerInterceptor, grpc.StreamServerInterceptor) {
	unary := func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if err := admit(ctx, info.FullMethod); err != nil {
			return nil, err
		}
		return handler(ctx, req)
	}
	stream := func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if err := admit(stream.Context(), info.FullMethod); err != nil {
			return err
		}
		return handler(srv, stream)
	}
	return unary, stream
}

// admit says why a call is refused.
func admit(ctx context.Context, method string) error {
	caller, ok := CallerFromContext(ctx)
	if ok && caller.Peer != nil {
		// A connection outlives its certificate.
		if end := caller.Peer.NotAfter(); time.Now().After(end) {
			return status.Error(codes.Unauthenticated, fmt.Sprintf(
				"the certificate of %s expired at %s, after this connection was made: renew it and connect again",
				caller.Peer.URI, end.UTC().Format(time.RFC3339)))
		}
		return nil
	}
	if open[method] {
		return nil
	}
	return status.Error(codes.Unauthenticated, fmt.Sprintf(
		"%s needs a client certificate, and this connection has none: enrol first, on another machine with a token of 'xdsserver token create'",
		method))
}
