package resolver

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

const (
	votingID = "spiffe://tulle.local/ns/default/svc/voting"
	emojiID  = "spiffe://tulle.local/ns/default/svc/emoji"
)

func (f *fakeSource) clusterOf(name string, ids ...string) {
	f.set(resource.ClusterType, name, known(&resource.Cluster{
		Name: name, EndpointsName: name, MaxRequests: resource.DefaultMaxRequests, Balancing: resource.StandardBalancing(resource.RoundRobin), PeerIDs: ids,
	}))
}

// peers are the identities expected at each address of the last update.
func (c *fakeConn) peers() map[string][]string {
	all := map[string][]string{}
	for _, e := range c.last().Endpoints {
		for _, a := range e.Addresses {
			all[a.Addr] = resource.PeerIDsFrom(a.Attributes)
		}
	}
	return all
}

func TestAnAddressSaysWhoIsExpectedThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		src.listener("voting", "voting")
		src.route("voting", "emoji", "voting")
		src.clusterOf("voting", votingID)
		src.clusterOf("emoji", emojiID)
		src.endpoints("voting", "10.0.0.1:1", "10.0.0.2:1")
		src.endpoints("emoji", "10.0.0.2:1", "10.0.0.3:1")
		b := newRunning(t, src)
		var c fakeConn
		build(t, b, "mesh:///voting", &c)
		synctest.Wait()
		got := c.peers()
		for address, want := range map[string]string{
			"10.0.0.1:1": votingID,
			"10.0.0.2:1": emojiID, // of two clusters the first: never both
			"10.0.0.3:1": emojiID,
		} {
			if !slices.Equal(got[address], []string{want}) {
				t.Errorf("%s: %q, want %s", address, got[address], want)
			}
		}

		// A cluster that changes nothing but itself leaves the connections alone.
		before := c.last().Endpoints
		src.clusterOf("voting", votingID)
		synctest.Wait()
		for i, e := range c.last().Endpoints {
			if !e.Addresses[0].Equal(before[i].Addresses[0]) {
				t.Errorf("%v is another address than %v", e.Addresses[0], before[i].Addresses[0])
			}
		}

		src.clusterOf("voting", votingID, emojiID)
		synctest.Wait()
		if got := c.peers()["10.0.0.1:1"]; len(got) != 2 {
			t.Errorf("after the change: %q, want both", got)
		}
	})
}

func TestReconnectMakesOtherAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		src.voting()
		b := newRunning(t, src)
		var c fakeConn
		build(t, b, "mesh:///voting", &c)
		synctest.Wait()
		before, updates := c.last(), c.updates()
		b.Reconnect()
		synctest.Wait()
		after := c.last()
		if c.updates() != updates+1 || resource.ConfigFrom(after.Attributes) != resource.ConfigFrom(before.Attributes) {
			t.Errorf("%d updates, config %p, want one more with the same config", c.updates()-updates, resource.ConfigFrom(after.Attributes))
		}
		if after.Endpoints[0].Addresses[0].Equal(before.Endpoints[0].Addresses[0]) {
			t.Error("the address is the same, and grpc keeps the connection")
		}
	})
}
