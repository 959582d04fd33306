package serve

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// resp is a response of an earlier stream, with a version and no nonce.
func resp(version string) *discoveryv3.DiscoveryResponse {
	return &discoveryv3.DiscoveryResponse{VersionInfo: version}
}

func manyNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%05d", i)
	}
	return names
}

func TestRequestsThatAreRefused(t *testing.T) {
	sotw := func(req *discoveryv3.DiscoveryRequest) func(*rig) error {
		return func(r *rig) error {
			c := r.sotw("node")
			c.send(req)
			return c.ended()
		}
	}
	delta := func(req *discoveryv3.DeltaDiscoveryRequest) func(*rig) error {
		return func(r *rig) error {
			c := r.delta("node")
			c.send(req)
			return c.ended()
		}
	}
	const secret = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	tests := []struct {
		name string
		run  func(r *rig) error
		code codes.Code
		says []string
	}{
		{
			"an unknown type is named, and so are those that are served",
			sotw(&discoveryv3.DiscoveryRequest{TypeUrl: secret, ResourceNames: []string{"a"}}),
			codes.InvalidArgument,
			[]string{secret, "not served", lds, eds},
		},
		{
			"an unknown type on a delta stream",
			delta(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: secret}),
			codes.InvalidArgument,
			[]string{secret, "not served"},
		},
		{
			"no type",
			sotw(&discoveryv3.DiscoveryRequest{}),
			codes.InvalidArgument,
			[]string{`type "" is not served`},
		},
		{
			"a request of more than 1 MiB",
			sotw(&discoveryv3.DiscoveryRequest{TypeUrl: eds, VersionInfo: strings.Repeat("x", 1<<20)}),
			codes.ResourceExhausted,
			[]string{"at most 1048576", "fewer names"},
		},
		{
			"100,000 names in less than 1 MiB",
			sotw(&discoveryv3.DiscoveryRequest{TypeUrl: eds, ResourceNames: manyNames(100_000)}),
			codes.ResourceExhausted,
			[]string{"more than 10000 ClusterLoadAssignment names", "fewer"},
		},
		{
			"one name too many on a delta stream",
			func(r *rig) error {
				c := r.delta("node")
				subscribe(c, eds, nil, manyNames(DefaultMaxNames)...)
				if err := c.ended(); err != nil {
					r.Fatalf("with as many as are allowed: %v", err)
				}
				subscribe(c, eds, nil, "one more")
				return c.ended()
			},
			codes.ResourceExhausted,
			[]string{"more than 10000"},
		},
		{
			"a name of 513 bytes",
			sotw(&discoveryv3.DiscoveryRequest{TypeUrl: eds, ResourceNames: []string{strings.Repeat("x", 513)}}),
			codes.InvalidArgument,
			[]string{"513 bytes", "1 to 512"},
		},
		{
			"an empty name",
			sotw(&discoveryv3.DiscoveryRequest{TypeUrl: eds, ResourceNames: []string{""}}),
			codes.InvalidArgument,
			[]string{"1 to 512"},
		},
		{
			"a name that is no text",
			func(r *rig) error {
				f := newFake(r.Server, false, func() *discoveryv3.DiscoveryResponse { return new(discoveryv3.DiscoveryResponse) })
				b := marshal(&discoveryv3.DiscoveryRequest{
					TypeUrl: eds, ResourceNames: []string{"?"}, Node: &corev3.Node{Id: "node"},
				})
				b[bytes.IndexByte(b, '?')] = 0xff
				f.send(b)
				return f.end()
			},
			codes.InvalidArgument,
			[]string{"UTF-8"},
		},
		{
			"a request that is not protobuf",
			func(r *rig) error {
				f := newFake(r.Server, false, func() *discoveryv3.DiscoveryResponse { return new(discoveryv3.DiscoveryResponse) })
				f.send([]byte{0xff})
				return f.end()
			},
			codes.InvalidArgument,
			[]string{"not valid protobuf"},
		},
		{
			"resources asked for other than by name",
			sotw(&discoveryv3.DiscoveryRequest{
				TypeUrl: eds, ResourceLocators: []*discoveryv3.ResourceLocator{{Name: "a"}},
			}),
			codes.InvalidArgument,
			[]string{"resource_locators"},
		},
		{
			"a first request without a node",
			func(r *rig) error {
				c := r.sotw("node")
				c.first = false
				ask(c, eds, nil, "a")
				return c.ended()
			},
			codes.InvalidArgument,
			[]string{"names no node", "node.id"},
		},
		{
			"a node without an id",
			func(r *rig) error {
				c := r.sotw("")
				ask(c, eds, nil, "a")
				return c.ended()
			},
			codes.InvalidArgument,
			[]string{"no id", "node.id"},
		},
		{
			"a node that becomes another",
			func(r *rig) error {
				c := r.sotw("node")
				ask(c, eds, nil, "a")
				c.send(&discoveryv3.DiscoveryRequest{TypeUrl: eds, Node: c.node}) // the same is fine
				if err := c.ended(); err != nil {
					r.Fatalf("with the same node again: %v", err)
				}
				c.send(&discoveryv3.DiscoveryRequest{TypeUrl: eds, Node: &corev3.Node{Id: "other", Cluster: "test"}})
				return c.ended()
			},
			codes.InvalidArgument,
			[]string{`"node"`, `"other"`},
		},
		{
			"one stream too many",
			func(r *rig) error {
				for range 3 {
					ask(r.sotw("node"), eds, nil, "a")
				}
				synctest.Wait()
				return r.sotw("late").ended()
			},
			codes.ResourceExhausted,
			[]string{"3 streams are open"},
		},
		{
			"a stream on a server that closes",
			func(r *rig) error {
				c := r.sotw("node")
				ask(c, eds, nil, "a")
				synctest.Wait()
				r.Close()
				if got := status.Code(r.sotw("late").ended()); got != codes.Unavailable {
					r.Errorf("a late stream ends with %v, want UNAVAILABLE", got)
				}
				return c.ended()
			},
			codes.Unavailable,
			[]string{"closing"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(c *Config) { c.MaxStreams = 3 }, func(r *rig) {
				r.publish(full("a"))
				err := tt.run(r)
				if status.Code(err) != tt.code {
					r.Fatalf("ended with %v, want %v", err, tt.code)
				}
				for _, want := range tt.says {
					if !strings.Contains(err.Error(), want) {
						r.Errorf("%q does not say %q", err, want)
					}
				}
			})
		})
	}
}

func TestWhatIsRefusedLeavesNothingBehind(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		r.publish(full("a"))
		c := r.delta("node")
		subscribe(c, eds, nil, manyNames(DefaultMaxNames)...)
		subscribe(c, eds, nil, manyNames(DefaultMaxNames+1)...)
		if c.ended() == nil {
			r.Fatal("the stream goes on")
		}
		if got := len(r.tables[endpoints].topics); got != 1 {
			r.Errorf("%d names of endpoints are known, want the one that is served", got)
		}
		if l := r.Ledger(); len(l.Streams) != 0 {
			r.Errorf("streams %+v, want none", l.Streams)
		}
	})
}

func TestARequestThatComesTooLateLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Logger: slog.New(slog.DiscardHandler)})
		defer s.Close()
		node := &corev3.Node{Id: "node"}
		for _, delta := range []bool{false, true} {
			request := func(typeURL, name string) []byte {
				if delta {
					return marshal(&discoveryv3.DeltaDiscoveryRequest{
						TypeUrl: typeURL, Node: node, ResourceNamesSubscribe: []string{name},
					})
				}
				return marshal(&discoveryv3.DiscoveryRequest{TypeUrl: typeURL, Node: node, ResourceNames: []string{name}})
			}
			f := newFake(s, delta, func() *discoveryv3.DiscoveryResponse { return new(discoveryv3.DiscoveryResponse) })
			f.send(request(eds, "a"))
			st := s.opened()[0]
			if err := f.end(); err != nil {
				t.Fatal(err)
			}
			receive(t, st, request(cds, "b"))
			for k := range s.tables {
				if n := len(s.tables[k].topics); n != 0 {
					t.Errorf("delta %v: %d %v names are known", delta, n, kind(k))
				}
			}
		}
	})
}

func TestOneBrokenClientDoesNotHarmTheOthers(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		r.publish(full("a"))
		good := r.sotw("good")
		ask(good, eds, nil, "a")
		ask(good, eds, good.one(), "a")

		// One that never reads: nobody takes what arrives on its stream.
		conn := r.dial()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		deaf, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
			discoveryv3.AggregatedDiscoveryService_StreamAggregatedResources_FullMethodName)
		if err != nil {
			r.Fatal(err)
		}
		w := full("a")
		for _, u := range []string{lds, rds, cds, eds} {
			w = w.with(u, "big", strings.Repeat("x", 200<<10))
		}
		r.publish(w)
		for i, u := range []string{cds, lds, rds, eds} {
			req := &discoveryv3.DiscoveryRequest{TypeUrl: u, ResourceNames: []string{"a", "big"}}
			if i == 0 {
				req.Node = &corev3.Node{Id: "deaf"}
			}
			if err := deaf.SendMsg(req); err != nil {
				r.Fatal(err)
			}
		}
		for i := range 10 {
			r.publish(w.with(eds, "a", fmt.Sprint("v", i+2)))
			got := good.one()
			ask(good, eds, got, "a")
		}
		synctest.Wait()
		if got := len(r.Ledger().Streams); got != 2 {
			r.Fatalf("%d streams, want both", got)
		}
		time.Sleep(DefaultStallTimeout)
		synctest.Wait()
		if got := len(r.Ledger().Streams); got != 1 {
			r.Errorf("%d streams after a minute, want the one that reads", got)
		}
		err = nil
		for err == nil {
			err = deaf.RecvMsg(new(discoveryv3.DiscoveryResponse))
		}
		if status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "has not answered") {
			r.Errorf("ended with %v, want DEADLINE_EXCEEDED and why", err)
		}
	})
}

func TestStalls(t *testing.T) {
	tests := []struct {
		name string
		run  func(r *rig, c *sotwClient)
	}{
		{"a client that does not answer is cut off after a minute, not before", func(r *rig, c *sotwClient) {
			ask(c, eds, nil, "a")
			c.one()
			time.Sleep(DefaultStallTimeout - time.Nanosecond)
			if err := c.ended(); err != nil {
				r.Fatalf("too soon: %v", err)
			}
			time.Sleep(time.Nanosecond)
			if got := status.Code(c.ended()); got != codes.DeadlineExceeded {
				r.Errorf("ended with %v, want DEADLINE_EXCEEDED", got)
			}
		}},
		{"a client that asks for nothing stays for ever", func(r *rig, c *sotwClient) {
			time.Sleep(24 * time.Hour)
			if err := c.ended(); err != nil {
				r.Fatal(err)
			}
		}},
		{"a client that owes nothing stays for ever", func(r *rig, c *sotwClient) {
			ask(c, eds, nil, "a")
			ask(c, eds, c.one(), "a")
			time.Sleep(24 * time.Hour)
			if err := c.ended(); err != nil {
				r.Fatal(err)
			}
		}},
		{"the minute begins with the response, however long nothing was said before", func(r *rig, c *sotwClient) {
			ask(c, eds, nil, "a")
			ask(c, eds, c.one(), "a")
			time.Sleep(59 * time.Second) // the alarm of the first response is still set
			r.publish(full("a").with(eds, "a", "v2"))
			second := c.one()
			time.Sleep(59 * time.Second)
			ask(c, eds, second, "a")
			if err := c.ended(); err != nil {
				r.Fatal(err)
			}
			time.Sleep(time.Hour)
			r.publish(full("a").with(eds, "a", "v3"))
			c.one()
			time.Sleep(59 * time.Second)
			if err := c.ended(); err != nil {
				r.Fatalf("too soon: %v", err)
			}
			time.Sleep(time.Second)
			if c.ended() == nil {
				r.Error("not cut off")
			}
		}},
		{"a client that asks for other things is not stalled", func(r *rig, c *sotwClient) {
			ask(c, cds, nil, "a")
			c.one() // Envoy answers when it has the endpoints
			for i := range 5 {
				time.Sleep(50 * time.Second)
				ask(c, eds, nil, fmt.Sprint("x", i))
			}
			if err := c.ended(); err != nil {
				r.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(r *rig) {
				r.publish(full("a"))
				tt.run(r, r.sotw("node"))
			})
		})
	}
}
