package limit_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tulle-mesh/tulle/interceptors/limit"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func ExampleCompile() {
	now := time.Now()
	limits := limit.Compile([]resource.RateLimit{
		{Name: "per-caller", Per: resource.PerIdentity, Rate: resource.Rate{PerSecond: 2, Burst: 1}},
	}, nil, now)
	for _, caller := range []string{"spiffe://tulle.local/ns/default/svc/web", "spiffe://tulle.local/ns/default/svc/web", "spiffe://tulle.local/ns/default/svc/shop"} {
		refused := limits.Admit(context.Background(), &limit.Call{Service: "voting", Caller: caller, Method: "/voting.v1.Voting/Vote"}, now)
		fmt.Println(refused != nil)
	}
	// Output:
	// false
	// true
	// false
}
