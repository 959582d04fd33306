package resolver

import (
	"testing"
	"time"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestCommonTimeoutIsThatOfEveryRoute(t *testing.T) {
	of := func(d time.Duration) *resource.Route { return &resource.Route{Timeout: &d} }
	inherits := &resource.Route{}
	doing := func(change func(*resource.Traffic)) *resource.Route {
		traffic := *resource.DefaultTraffic()
		traffic.Retry = resource.DefaultRetry()
		change(&traffic)
		return &resource.Route{Traffic: &traffic}
	}
	retrying := func(change func(*resource.Retry)) *resource.Route {
		return doing(func(t *resource.Traffic) { change(t.Retry) })
	}
	for name, test := range map[string]struct {
		listener time.Duration
		routes   []*resource.Route
		want     time.Duration
	}{
		"no route":                           {time.Second, nil, 0},
		"routes that inherit the listener's": {time.Second, []*resource.Route{inherits, inherits}, time.Second},
		"one inherits, one says the same":    {time.Second, []*resource.Route{inherits, of(time.Second)}, time.Second},
		"one says another":                   {time.Second, []*resource.Route{inherits, of(2 * time.Second)}, 0},
		"one has none":                       {time.Second, []*resource.Route{inherits, of(0)}, 0},
		"the listener has none":              {0, []*resource.Route{inherits}, 0},
		"one retries as all do by default":   {time.Second, []*resource.Route{inherits, retrying(func(*resource.Retry) {})}, time.Second},
		"one does not retry":                 {time.Second, []*resource.Route{inherits, retrying(func(r *resource.Retry) { r.Attempts = 1 })}, time.Second},
		"one retries more often":             {time.Second, []*resource.Route{inherits, retrying(func(r *resource.Retry) { r.Attempts = 3 })}, time.Second},
		"one retries what was sent":          {time.Second, []*resource.Route{inherits, retrying(func(r *resource.Retry) { r.Idempotent = true })}, time.Second},
		"one bounds each attempt":            {time.Second, []*resource.Route{retrying(func(r *resource.Retry) { r.PerTryTimeout = 1 }), inherits}, time.Second},
		"one hedges":                         {time.Second, []*resource.Route{inherits, doing(func(t *resource.Traffic) { t.Hedge = &resource.Hedge{} })}, 0},
		"one gives hops their time":          {time.Second, []*resource.Route{inherits, doing(func(t *resource.Traffic) { t.HopCost = 1 })}, time.Second},
		"one mirrors for as long": {time.Second, []*resource.Route{doing(func(t *resource.Traffic) {
			t.Mirrors = []resource.Mirror{{Timeout: time.Second}}
		})}, time.Second},
		"one mirrors for longer": {time.Second, []*resource.Route{doing(func(t *resource.Traffic) {
			t.Mirrors = []resource.Mirror{{Timeout: 2 * time.Second}}
		})}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := commonTimeout(&resource.Config{
				Listener:    &resource.Listener{MaxStreamDuration: test.listener},
				VirtualHost: &resource.VirtualHost{Routes: test.routes},
			})
			if got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestServiceConfigSaysTheTimeoutInFull(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                       `{"loadBalancingConfig":[{"tulle":{}}]}`,
		5 * time.Second:         `{"loadBalancingConfig":[{"tulle":{}}],"methodConfig":[{"name":[{}],"timeout":"5.000000000s"}]}`,
		1500 * time.Microsecond: `{"loadBalancingConfig":[{"tulle":{}}],"methodConfig":[{"name":[{}],"timeout":"0.001500000s"}]}`,
	} {
		if got := serviceConfigOf(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}
