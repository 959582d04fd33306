package call_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// An interceptor starts the call, a picker refuses it, and the interceptor says why.
func Example() {
	pick := func(ctx context.Context) {
		rpc := call.FromContext(ctx)
		rpc.Failure = &call.Error{
			Service: "voting",
			Reason:  call.NoEndpoint,
			Code:    codes.Unavailable,
			Detail:  fmt.Sprintf("no healthy endpoint in cluster %q", rpc.Cluster),
			Try:     "xdsserver endpoints voting",
		}
	}

	rpc := &call.Call{Context: context.Background(), Cluster: "voting/v2"}
	pick(rpc)
	fmt.Println(rpc.Failure.Reason)
	fmt.Println(rpc.Failure)
	// Output:
	// NO_ENDPOINT
	// mesh: no healthy endpoint in cluster "voting/v2"; try: xdsserver endpoints voting
}
