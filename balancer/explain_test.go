package balancer

import (
	"regexp"
	"testing"
	"time"

	"google.golang.org/grpc/balancer"

	"github.com/tulle-mesh/tulle/mesh/breaker"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestWhy(t *testing.T) {
	for _, tt := range []struct {
		name   string
		n      int
		change func(config *resource.Balancing, members []Member, rpc *call.Call)
		want   string
	}{
		{
			"peak EWMA tells both loads", 2, func(*resource.Balancing, []Member, *call.Call) {},
			`^peak-ewma: 2ms x 1 beat 10\.0\.0\.1:8080 4ms x 2$`,
		},
		{"of one there is nothing to compare", 1, func(*resource.Balancing, []Member, *call.Call) {}, `^peak-ewma: 2ms x 1$`},
		{"what was not called yet is a guess", 2, func(_ *resource.Balancing, members []Member, _ *call.Call) {
			fresh := NewNode(members[1].Node.Address)
			fresh.begin()
			members[1].Node = fresh
		}, `^peak-ewma: 2ms x 1 beat 10\.0\.0\.1:8080 (2|30)ms \(a guess\) x 2$`},
		{"those of other zones are not counted", 2, func(c *resource.Balancing, members []Member, _ *call.Call) {
			c.Zone.Prefer, members[1].Local = true, false
		}, `^peak-ewma: 2ms x 1, of the 1 of 2 endpoints in use$`},
		{"least request counts", 2, func(c *resource.Balancing, _ []Member, _ *call.Call) {
			c.Policy, c.Choices = resource.LeastRequest, 16
		}, `^least-request: 0 open, the fewest of 16 drawn$`},
		{
			"round robin has no reason", 2, func(c *resource.Balancing, _ []Member, _ *call.Call) { c.Policy = resource.RoundRobin },
			`^round-robin: one of 2 endpoints$`,
		},
		{"ring hash has a key", 2, func(c *resource.Balancing, _ []Member, rpc *call.Call) {
			c.Policy, rpc.Hash, rpc.Hashed = resource.RingHash, 255, true
		}, `^ring-hash: key 00000000000000ff`},
		{"or none", 2, func(c *resource.Balancing, _ []Member, _ *call.Call) { c.Policy = resource.RingHash }, `^ring-hash: the call has no key`},
		{"where all fail, one that was left", 2, func(c *resource.Balancing, members []Member, _ *call.Call) {
			c.MaxEjectedPercent = 100
			for _, m := range members {
				m.Node.Eject(true)
			}
		}, `^peak-ewma: one that was left, of 2 endpoints, 2 of which fail$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config, members := resource.DefaultBalancing(), fakeMembers(tt.n)
			rpc := &call.Call{Context: t.Context(), Explain: true}
			now := breaker.Now()
			for i, m := range members {
				m.Node.configure(&config)
				m.Node.cost.observe(time.Duration(2*(i+1))*time.Millisecond, now, 0)
				for range i {
					m.Node.begin()
				}
			}
			tt.change(&config, members, rpc)
			p := NewPool(&config, members)
			result, err := p.Pick(balancer.PickInfo{Ctx: rpc}, rpc)
			if err != nil {
				t.Fatal(err)
			}
			result.Done(balancer.DoneInfo{})
			if !regexp.MustCompile(tt.want).MatchString(rpc.Why) {
				t.Errorf("because of %q, want %s", rpc.Why, tt.want)
			}
		})
	}
}

func TestWhyOfAProbe(t *testing.T) {
	inLab(t, 2, func(l *lab) {
		p := &Pool{config: &l.config}
		n := NewNode("10.0.0.1:8080")
		n.cost.observe(300*time.Millisecond, breaker.Now(), 0)
		if got, want := p.because(probe, n, breaker.Now()), "breaker: one call to see whether the endpoint is well again"; got != want {
			t.Errorf("because of %q, want %q", got, want)
		}
		if got, want := p.because(reminder, n, breaker.Now()), "peak-ewma: one call to see whether the endpoint still takes 300ms"; got != want {
			t.Errorf("because of %q, want %q", got, want)
		}
	})
}

func TestShort(t *testing.T) {
	for ns, want := range map[float64]string{
		1.5: "1ns", 2.1e6: "2.1ms", 2.123456e6: "2.12ms", 45.678e6: "45.7ms", 1.2345e9: "1.23s", 123456: "123µs", 45e9: "45s",
	} {
		if got := short(ns).String(); got != want {
			t.Errorf("%v ns are %s, want %s", ns, got, want)
		}
	}
}
