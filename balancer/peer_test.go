package balancer_test

import (
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/resolver"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// One address in two clusters that expect different identities there: the
// connection is made for those of one, and the other has no use of it.
func TestAnEndpointIsOfThoseWhoExpectItsIdentityOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.up("a", "b")
		o := newOurs(t, w, nil)
		voting, emoji := []string{"spiffe://x/voting"}, []string{"spiffe://x/emoji"}
		set := func(votingIDs []string) {
			t.Helper()
			config := configOf(t, map[string]spec{service: one("ab"), "emoji": one("b")})
			config.Clusters[service].Cluster.PeerIDs = votingIDs
			config.Clusters["emoji"].Cluster.PeerIDs = emoji
			state := stateOf(config, nil)
			state.Endpoints = nil
			for name, ids := range map[string][]string{"a": votingIDs, "b": emoji} {
				state.Endpoints = append(state.Endpoints, resolver.Endpoint{
					Addresses: []resolver.Address{{Addr: address(name), Attributes: resource.WithPeerIDs(nil, ids)}},
				})
			}
			o.resolver.UpdateState(state)
			o.conn.Connect()
			synctest.Wait()
		}
		call := func(cluster string) (string, *call.Call) {
			rpc := &call.Call{Context: t.Context(), Cluster: cluster}
			return who(rpc, o.conn, whoMethod), rpc
		}

		set(voting)
		for range 20 {
			if got, _ := call(service); got != "a" {
				t.Fatalf("a call to voting got %s, want a: b is emoji's", got)
			}
			if got, _ := call("emoji"); got != "b" {
				t.Fatalf("a call to emoji got %s", got)
			}
		}
		w.down("a")
		synctest.Wait()
		_, rpc := call(service)
		want := `mesh: no healthy endpoint for "voting" (2 known: 1 refused 10.0.0.97:8080: connect: connection refused, ` +
			`1 expected to be another service's 10.0.0.98:8080: two clusters that calls are routed to expect different identities there); ` +
			`try: xdsserver endpoints voting`
		if rpc.Failure == nil || rpc.Failure.Error() != want {
			t.Errorf("got  %v\nwant %s", rpc.Failure, want)
		}

		// The identities of a cluster change: it may use what is there already.
		before := w.dialled("b")
		set(emoji)
		if got, _ := call(service); got != "b" {
			t.Errorf("a call to voting got %s, want b", got)
		}
		if got := w.dialled("b"); got != before {
			t.Errorf("b was dialled %d times more, although nothing changed for it", got-before)
		}
	})
}
