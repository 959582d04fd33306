package serve

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

var (
	webs    = resource.CommandsName("web")
	votings = resource.CommandsName("voting")
)

func commanded() world { return full("a").with(cmd, webs, "debug").with(cmd, votings, "warn") }

func TestCommandsAreForTheirService(t *testing.T) {
	bubble(t, as("web", 0), func(r *rig) {
		r.publish(commanded())
		c := r.delta("web/1")
		subscribe(c, cmd, nil, webs)
		got := c.one()
		if diff := cmp.Diff(map[string]string{webs: "debug"}, changes(got)); diff != "" {
			t.Error(diff)
		}
		ack(c, got)
		pretender := r.delta("voting/1")
		subscribe(pretender, cmd, nil, votings)
		if err := pretender.ended(); status.Code(err) != codes.PermissionDenied {
			t.Errorf("who asks for another's commands: %v", err)
		}
		dump, err := statusv3.NewClientStatusDiscoveryServiceClient(r.dial()).FetchClientStatus(r.Context(), &statusv3.ClientStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var seen []string
		for _, config := range dump.GetConfig() {
			for _, g := range config.GetGenericXdsConfigs() {
				seen = append(seen, g.GetName()+" "+g.GetClientStatus().String())
			}
		}
		if diff := cmp.Diff([]string{webs + " ACKED"}, seen); diff != "" {
			t.Errorf("its own dump: %s", diff)
		}
	})
}

func TestCommandsOfAnotherAreInNobodysDump(t *testing.T) {
	var who string
	identify := func(c *Config) {
		c.Identify = func(context.Context) (Client, error) { return Client{Service: who, ID: domain + who}, nil }
	}
	bubble(t, identify, func(r *rig) {
		r.publish(commanded())
		who = "web"
		c := r.delta("web/1")
		subscribe(c, cmd, nil, webs)
		c.one()
		who = "voting"
		dump, err := statusv3.NewClientStatusDiscoveryServiceClient(r.dial()).FetchClientStatus(r.Context(), &statusv3.ClientStatusRequest{})
		if err != nil || len(dump.GetConfig()) != 0 {
			t.Errorf("voting sees %v, %v", dump, err)
		}
	})
}

func TestCommandsMakeNoClientBehind(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
		defer cancel()
		current := func(what string, want bool) {
			t.Helper()
			if l := r.Ledger(); len(l.Streams) != 1 || l.Streams[0].Current != want {
				t.Errorf("%s: %+v, want current %v", what, l.Streams, want)
			}
		}
		r.publish(commanded())
		c := r.delta("web/1")
		subscribe(c, cmd, nil, webs)
		subscribe(c, eds, nil, "a")
		in := c.pending()
		if len(in) != 2 {
			t.Fatalf("got %d responses", len(in))
		}
		for _, got := range in {
			if got.GetTypeUrl() == eds {
				ack(c, got)
			}
		}
		if got := r.awaiting(ctx, 1)(); got != "done" {
			t.Errorf("a change of configuration waits for commands: %q", got)
		}
		current("commands are not answered", true)

		for _, got := range in {
			if got.GetTypeUrl() == cmd {
				reject(c, got, "no")
			}
		}
		r.publish(commanded())
		current("commands are refused", true)
		if l := r.Ledger(); l.Streams[0].Refused != 1 || len(l.Rejections) != 1 || l.Rejections[0].Name != webs {
			t.Errorf("the refusal is not in the ledger: %+v", l)
		}

		r.publish(commanded().with(eds, "a", "v2").with(cmd, webs, "info"))
		for _, got := range c.pending() {
			if got.GetTypeUrl() == cmd {
				ack(c, got)
			}
		}
		if got := r.awaiting(ctx, 3)(); got != "" {
			t.Errorf("a change of endpoints is not waited for: %q", got)
		}
		current("endpoints are not answered", false)
		for _, held := range r.Held(func(*Stream) bool { return true }) {
			if h, ok := held.Holding(cmd, webs); !ok || h.State != HoldingCurrent {
				t.Errorf("holds %+v", h)
			}
		}
	})
}

// After a start without memory, who was told to do something is told to stop at once:
// that endpoints are missing may be a mistake, that a command is over is none.
func TestCommandsAreTakenBackDuringTheWarmUp(t *testing.T) {
	bubble(t, func(c *Config) { c.WarmUntil = time.Now().Add(warmUp) }, func(r *rig) {
		r.publish(full("a"))
		c := r.delta("web/1")
		resume(c, cmd, map[string]string{webs: "old"}, webs)
		if diff := cmp.Diff(map[string]string{webs: "removed"}, changes(c.one())); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhoHasCommandsIsCounted(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		anybody := func(*Stream) bool { return true }
		counted := func(what string, generation uint64, wanted func(*Stream) bool, have, of int) {
			t.Helper()
			if h, o := r.Having(cmd, webs, "test", generation, wanted); h != have || o != of {
				t.Errorf("%s: %d of %d, want %d of %d", what, h, o, have, of)
			}
		}
		r.publish(commanded())
		one, two, stock := r.delta("web/one"), r.delta("web/two"), r.delta("web/stock")
		subscribe(one, cmd, nil, webs)
		subscribe(two, cmd, nil, webs)
		subscribe(stock, eds, nil, "a")
		stock.one()
		ack(one, one.one())
		unanswered := two.one()
		synctest.Wait()
		counted("one has answered", 1, anybody, 1, 2)
		counted("of a later generation", 2, anybody, 0, 2)
		counted("of the one that has not", 1, func(s *Stream) bool { return s.Node == "web/two" }, 0, 1)
		r.publish(commanded().with(cmd, webs, "info"))
		counted("of new ones", 2, anybody, 0, 2)
		ack(one, one.one())
		ack(two, unanswered)
		ack(two, two.one())
		synctest.Wait()
		counted("both have answered", 2, anybody, 2, 2)
		if h, o := r.Having("no.such.Type", webs, "test", 1, anybody); h != 0 || o != 0 {
			t.Errorf("of a type that is none: %d of %d", h, o)
		}
	})
}
