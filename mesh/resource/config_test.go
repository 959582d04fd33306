package resource_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestTheRoutesTimeoutComesBeforeTheListeners(t *testing.T) {
	for _, tt := range []struct {
		name     string
		listener time.Duration
		route    *time.Duration
		want     time.Duration
	}{
		{"neither sets one", 0, nil, 0},
		{"the listener's is the default", time.Second, nil, time.Second},
		{"the route's is used, longer or not", time.Second, new(time.Minute), time.Minute},
		{"the route's may be none", time.Second, new(time.Duration(0)), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &resource.Config{Listener: &resource.Listener{MaxStreamDuration: tt.listener}}
			if got := c.Timeout(&resource.Route{Timeout: tt.route}); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestTheMostSpecificFaultCountsAlone(t *testing.T) {
	fault := func(code codes.Code) *resource.Fault { return &resource.Fault{AbortPerMillion: 1, AbortCode: code} }
	none := &resource.Fault{MaxActive: 1}
	for _, tt := range []struct {
		name                           string
		listener, host, route, cluster *resource.Fault
		without                        bool // the fault filter
		want                           codes.Code
	}{
		{"there is none", nil, nil, nil, nil, false, 0},
		{"the listener's is the default", fault(1), nil, nil, nil, false, 1},
		{"the virtual host's comes before it", fault(1), fault(2), nil, nil, false, 2},
		{"the route's comes before that", fault(1), fault(2), fault(3), nil, false, 3},
		{"the cluster's comes first", fault(1), fault(2), fault(3), fault(4), false, 4},
		{"one without shares switches off those above it", fault(1), fault(2), none, nil, false, 0},
		{"without the filter there is none", nil, fault(2), fault(3), fault(4), true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &resource.Config{
				Listener:    &resource.Listener{Fault: tt.listener, FaultFilter: !tt.without},
				VirtualHost: &resource.VirtualHost{Fault: tt.host},
			}
			route := &resource.Route{Fault: tt.route}
			got := codes.Code(0)
			if f := c.Fault(route, &resource.WeightedCluster{Fault: tt.cluster}); f != nil {
				got = f.AbortCode
			}
			if got != tt.want {
				t.Errorf("the fault with code %d, want %d", got, tt.want)
			}
			if tt.cluster == nil && (c.Fault(route, nil) == nil) != (tt.want == 0) {
				t.Error("a call without a cluster has another fault")
			}
		})
	}
}

func TestAConfigTravelsInAttributes(t *testing.T) {
	c := &resource.Config{}
	if got := resource.ConfigFrom(nil); got != nil {
		t.Errorf("no attributes hold %v", got)
	}
	if got := resource.ConfigFrom(attributes.New("other", 1)); got != nil {
		t.Errorf("other attributes hold %v", got)
	}
	if got := resource.ConfigFrom(resource.WithConfig(nil, c)); got != c {
		t.Errorf("got %v, want %v", got, c)
	}
	attrs := resource.WithConfig(attributes.New("other", 1), c)
	if resource.ConfigFrom(attrs) != c || attrs.Value("other") != 1 {
		t.Errorf("got %v", attrs)
	}
}
