package xdsclient

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// servers starts two that have the same resource, with the server as its text.
func twoServers(t *testing.T, n *network) (a, b *fakeServer) {
	t.Helper()
	a, b = newServer(t, n, "a"), newServer(t, n, "b")
	a.set(typeA, "one", "va", "one=a")
	b.set(typeA, "one", "vb", "one=b")
	return a, b
}

func TestNextServerIsUsedWhenThePreferredIsAway(t *testing.T) {
	t.Run("at once when it refuses before any has answered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork()
			a, _ := twoServers(t, n)
			a.stop()
			h := startClient(t, config(n, "a", "b"))
			one := h.watch(typeA, "one")
			settle(time.Millisecond)
			one.want(t, "b@vb")
			h.log.wantCount(t, "level=WARN", 0)
		})
	})
	t.Run("after a few seconds when it is silent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork()
			twoServers(t, n)
			n.setSilent("a", true)
			h := startClient(t, config(n, "a", "b"))
			one := h.watch(typeA, "one")
			settle(failoverAfter - time.Millisecond)
			one.want(t, "nothing unknown")
			settle(time.Millisecond)
			one.want(t, "b@vb")
		})
	})
	t.Run("when it takes connections and refuses streams", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork()
			a, _ := twoServers(t, n)
			a.refuse(status.Error(codes.Unimplemented, "unknown service"))
			h := startClient(t, config(n, "a", "b"))
			one := h.watch(typeA, "one")
			settle(failoverAfter)
			one.want(t, "b@vb")
		})
	})
	t.Run("not when it only restarts", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork()
			a, b := twoServers(t, n)
			h := startClient(t, config(n, "a", "b"))
			one := h.watch(typeA, "one")
			settle(time.Minute)
			a.stop()
			settle(200 * time.Millisecond)
			a.start()
			settle(5 * time.Minute)
			one.want(t, "a@va")
			if got := b.streamsOpened(); got != 0 {
				t.Errorf("%d streams were opened on the other server", got)
			}
		})
	})
}

func TestClientReturnsToABetterServerWithoutATear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, b := twoServers(t, n)
		h := startClient(t, config(n, "a", "b"))
		one := h.watch(typeA, "one")
		settle(time.Minute)
		one.want(t, "a@va")
		a.stop()
		settle(failoverAfter + maxDelay)
		one.want(t, "b@vb")
		if got := h.Status(); !got.Connected || got.Server != "b" {
			t.Errorf("status is %+v, want connected to b", got)
		}
		one.tellings()

		// A server that takes connections and does not answer is not returned to.
		a.setMute(true)
		a.start()
		settle(5 * time.Minute)
		one.want(t, "b@vb")
		if got, streams := h.Status().Server, b.streamsOpened(); got != "b" || streams != 1 {
			t.Errorf("%s is in use, and b had %d streams; want b and 1", got, streams)
		}
		a.setMute(false)
		settle(probeMost + probeTimeout)
		one.want(t, "a@va")
		if got := one.tellings(); got != 1 {
			t.Errorf("told %d times, want once: the better server's value", got)
		}
		h.log.wantCount(t, "configuration is stale", 0)
		if got := n.open(); got != 1 {
			t.Errorf("%d connections are open, want 1", got)
		}
	})
}

func TestServerThatComesAndGoesMovesNobodyOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, b := twoServers(t, n)
		h := startClient(t, config(n, "a", "b"))
		h.watch(typeA, "one")
		settle(time.Minute)
		const rounds = 60
		for range rounds {
			a.stop()
			settle(10 * time.Second)
			a.start()
			settle(20 * time.Second)
		}
		// Half an hour. Each return waits for a minute on the lesser server.
		if got := b.streamsOpened(); got > rounds/2 {
			t.Errorf("moved to the lesser server %d times in %d minutes", got, rounds/2)
		}
	})
}

func TestAllServersAwayAreTriedSideBySide(t *testing.T) {
	for _, back := range []string{"a", "b", "c"} {
		t.Run(back+" comes back", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork()
				n.setSilent("b", true)
				servers := map[string]*fakeServer{}
				for _, addr := range []string{"a", "b", "c"} {
					servers[addr] = newServer(t, n, addr)
					servers[addr].set(typeA, "one", "v"+addr, "one="+addr)
					servers[addr].stop()
				}
				h := startClient(t, config(n, "a", "b", "c"))
				one := h.watch(typeA, "one")
				settle(5 * time.Minute)
				if got := one.text(); !strings.HasPrefix(got, "error: ") {
					t.Errorf("state is %q, want an error", got)
				}
				n.setSilent("b", false)
				servers[back].start()
				settle(maxDelay)
				if back == "b" {
					settle(connectTimeout) // its last attempt hung
				}
				one.want(t, fmt.Sprintf("%s@v%s", back, back))
				h.log.wantCount(t, "level=WARN", 1)
			})
		})
	}
}

func TestTargetsWithoutASchemeAreDialledAsTheyAre(t *testing.T) {
	for target, want := range map[string]string{
		"127.0.0.1:18000":     "passthrough:///127.0.0.1:18000",
		"xds.internal:18000":  "passthrough:///xds.internal:18000",
		"[::1]:18000":         "passthrough:///[::1]:18000",
		"unix:///run/x.sock":  "unix:///run/x.sock",
		"unix:/run/x.sock":    "unix:/run/x.sock",
		"dns:///xds:18000":    "dns:///xds:18000",
		"passthrough:///name": "passthrough:///name",
	} {
		if got := grpcTarget(target); got != want {
			t.Errorf("%s is dialled as %s, want %s", target, got, want)
		}
	}
}

func TestConfigErrorsNameTheField(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no server", func(c *Config) { c.Servers = nil }, "Config.Servers"},
		{"an empty server", func(c *Config) { c.Servers = []string{"a", ""} }, "Config.Servers"},
		{"no node", func(c *Config) { c.Node = nil }, "Config.Node"},
		{"a node that cannot be sent", func(c *Config) { c.Node.Cluster = "\xff" }, "Config.Node"},
		{"no types", func(c *Config) { c.Types = nil }, "Config.Types"},
		{"a type without decoder", func(c *Config) { c.Types = []Type{{URL: typeA}} }, "Config.Types"},
		{"a type twice", func(c *Config) { c.Types = append(c.Types, c.Types[0]) }, "Config.Types"},
		{"no credentials", func(c *Config) { c.DialOptions = nil }, `server "a": grpc: no transport security set`},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := config(newNetwork(), "a")
			test.change(&cfg)
			_, err := New(cfg)
			if err == nil || !strings.HasPrefix(err.Error(), "xdsclient: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error that names %s", err, test.want)
			}
		})
	}
}
