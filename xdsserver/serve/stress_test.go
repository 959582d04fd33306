package serve

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
)

// Many clients answer, drop names and take them up again while content changes
// under them, all at once; when that ends, every one of them has what there is.
func TestNothingIsLostInTheCrowd(t *testing.T) {
	const clients, updates = 40, 300
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Logger: slog.New(slog.DiscardHandler)})
		defer s.Close()
		w := full("a", "b", "c")
		s.Publish(w.snapshot(0))

		stop := make(chan struct{})
		var running sync.WaitGroup
		var fakes [clients]*crowdClient
		for i := range clients {
			c := &crowdClient{delta: i%2 == 0, has: make(map[string]string), random: rand.New(rand.NewPCG(1, uint64(i)))}
			c.fake = newFake(s, c.delta, func() *discoveryv3.DiscoveryResponse { return nil })
			fakes[i] = c
			running.Go(func() { c.run(stop) })
		}
		for i := range updates {
			w = w.with(eds, string("abc"[i%3]), fmt.Sprint("v", i))
			w = w.with(cds, string("abc"[i%3]), fmt.Sprint("v", i))
			s.Publish(w.snapshot(uint64(i + 1)))
		}
		synctest.Wait()
		close(stop)
		running.Wait()

		want := make(map[string]string)
		for _, u := range []string{cds, eds} {
			for n, text := range w[u] {
				want[u+n] = text
			}
		}
		for i, c := range fakes {
			if diff := cmp.Diff(want, c.has); diff != "" {
				t.Errorf("client %d: %s", i, diff)
			}
		}
		for _, st := range s.Ledger().Streams {
			if !st.Current {
				t.Errorf("%+v is not current", st)
			}
		}
		for i, c := range fakes {
			if err := c.fake.end(); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		}
	})
}

// A crowdClient takes what comes, answers it, and changes its mind now and then.
type crowdClient struct {
	fake   *fake[*discoveryv3.DiscoveryResponse]
	delta  bool
	has    map[string]string
	random *rand.Rand
	node   *corev3.Node
}

func (c *crowdClient) run(stop <-chan struct{}) {
	c.node = &corev3.Node{Id: "crowd"}
	all := []string{"a", "b", "c"}
	c.say(cds, "", all, nil)
	c.say(eds, "", all, nil)
	for {
		select {
		case <-stop:
			return
		case b := <-c.fake.out:
			u, nonce := c.take(b)
			// A name is dropped, answered for, and taken up again in the same
			// breath: what the server then sends must be the latest.
			if c.random.IntN(8) == 0 {
				n := all[c.random.IntN(3)]
				delete(c.has, u+n)
				c.say(u, nonce, without(all, n), []string{n})
				nonce = c.lastNonce(nonce)
			}
			c.say(u, nonce, all, nil)
		}
	}
}

// lastNonce is what to say a second time: in delta, nothing is answered twice.
func (c *crowdClient) lastNonce(nonce string) string {
	if c.delta {
		return ""
	}
	return nonce
}

func (c *crowdClient) take(b []byte) (typeURL, nonce string) {
	if c.delta {
		r := new(discoveryv3.DeltaDiscoveryResponse)
		if err := proto.Unmarshal(b, r); err != nil {
			panic(err)
		}
		for n, text := range changes(r) {
			c.has[r.GetTypeUrl()+n] = text
		}
		return r.GetTypeUrl(), r.GetNonce()
	}
	r := new(discoveryv3.DiscoveryResponse)
	if err := proto.Unmarshal(b, r); err != nil {
		panic(err)
	}
	for n, text := range contents(r) {
		c.has[r.GetTypeUrl()+n] = text
	}
	return r.GetTypeUrl(), r.GetNonce()
}

// say sends a request that leaves names subscribed and drops others.
func (c *crowdClient) say(typeURL, nonce string, names, drop []string) {
	var r proto.Message = &discoveryv3.DiscoveryRequest{
		Node: c.node, TypeUrl: typeURL, ResourceNames: names, ResponseNonce: nonce,
	}
	if c.delta {
		d := &discoveryv3.DeltaDiscoveryRequest{
			Node: c.node, TypeUrl: typeURL, ResourceNamesUnsubscribe: drop, ResponseNonce: nonce,
		}
		for _, n := range names {
			if _, has := c.has[typeURL+n]; !has && drop == nil {
				d.ResourceNamesSubscribe = append(d.ResourceNamesSubscribe, n)
			}
		}
		r = d
	}
	c.node = nil
	c.fake.in <- marshal(r)
}

func without(names []string, drop string) []string {
	var rest []string
	for _, n := range names {
		if n != drop {
			rest = append(rest, n)
		}
	}
	return rest
}
