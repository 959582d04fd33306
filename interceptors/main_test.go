package interceptors_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	method = "/voting.v1.Voting/Vote"
	all    = 1_000_000 // per million
)

// configs is a Configs with one answer.
type configs struct {
	config *resource.Config
	err    error
	asked  func(context.Context)
}

func (c *configs) Config(ctx context.Context, _ *grpc.ClientConn) (*resource.Config, error) {
	if c.asked != nil {
		c.asked(ctx)
	}
	return c.config, c.err
}

// voting is a Config whose one route leads to voting/v2.
func voting(change ...func(*resource.Route)) *configs {
	r := &resource.Route{
		Clusters:    []resource.WeightedCluster{{Name: "voting/v2", Weight: 1}},
		TotalWeight: 1,
	}
	for _, f := range change {
		f(r)
	}
	return &configs{config: &resource.Config{
		Service:     "voting",
		Listener:    &resource.Listener{FaultFilter: true},
		VirtualHost: &resource.VirtualHost{Routes: []*resource.Route{r}},
	}}
}

func timeout(d time.Duration) func(*resource.Route) {
	return func(r *resource.Route) { r.Timeout = &d }
}

func faulty(f resource.Fault) func(*resource.Route) {
	return func(r *resource.Route) { r.Fault = &f }
}
