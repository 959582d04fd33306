package xdsclient

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// A network is where servers listen and clients dial, in memory.
type network struct {
	mu        sync.Mutex
	listeners map[string]*bufconn.Listener
	silent    map[string]bool // packets to these addresses are lost
	conns     map[*lossyConn]struct{}
	dials     map[string]int
}

func newNetwork() *network {
	return &network{
		listeners: map[string]*bufconn.Listener{},
		silent:    map[string]bool{},
		conns:     map[*lossyConn]struct{}{},
		dials:     map[string]int{},
	}
}

func (n *network) listen(addr string) net.Listener {
	l := bufconn.Listen(1 << 20)
	n.mu.Lock()
	n.listeners[addr] = l
	n.mu.Unlock()
	return l
}

// setSilent loses, or no longer loses, everything sent to an address: a dial
// hangs, a connection that is open goes half-open.
func (n *network) setSilent(addr string, silent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.silent[addr] = silent
	for c := range n.conns {
		if c.addr == addr {
			c.setSilent(silent)
		}
	}
}

func (n *network) dialled(addr string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials[addr]
}

// open returns how many connections clients have open.
func (n *network) open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns)
}

func (n *network) dial(ctx context.Context, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.dials[addr]++
	l, silent := n.listeners[addr], n.silent[addr]
	n.mu.Unlock()
	if silent {
		<-ctx.Done()
		return nil, fmt.Errorf("dial %s: i/o timeout", addr)
	}
	if l == nil {
		return nil, fmt.Errorf("dial %s: connection refused", addr)
	}
	conn, err := l.DialContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial %s: connection refused", addr)
	}
	c := &lossyConn{Conn: conn, addr: addr, network: n}
	n.mu.Lock()
	n.conns[c] = struct{}{}
	n.mu.Unlock()
	return c, nil
}

// A lossyConn can lose what is written to it.
type lossyConn struct {
	net.Conn
	addr    string
	network *network

	mu     sync.Mutex
	silent bool
}

func (c *lossyConn) setSilent(silent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = silent
}

func (c *lossyConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	silent := c.silent
	c.mu.Unlock()
	if silent {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *lossyConn) Close() error {
	c.network.mu.Lock()
	delete(c.network.conns, c)
	c.network.mu.Unlock()
	return c.Conn.Close()
}

// A fakeServer is a delta ADS server: it answers every name subscribed to, with
// the resource or with its removal, and sends changes as they are set.
type fakeServer struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	network *network
	addr    string
	grpc    *grpc.Server

	mu        sync.Mutex
	resources map[key]*discoveryv3.Resource
	streams   map[*fakeStream]struct{}
	requests  []*discoveryv3.DeltaDiscoveryRequest
	opened    int
	mute      bool
	refusal   error
}

// A fakeStream is one client's stream. The server's mu guards it.
type fakeStream struct {
	wake  chan struct{}
	names map[key]string // subscribed, with the version sent
	due   map[key]bool   // to be answered whatever was sent
	raw   []*discoveryv3.DeltaDiscoveryResponse
	nonce int
}

// newServer starts a server at addr; it stops with the test at the latest.
func newServer(t testing.TB, n *network, addr string) *fakeServer {
	t.Helper()
	f := &fakeServer{
		network:   n,
		addr:      addr,
		resources: map[key]*discoveryv3.Resource{},
		streams:   map[*fakeStream]struct{}{},
	}
	f.start()
	t.Cleanup(f.stop)
	return f
}

// start makes the server reachable.
func (f *fakeServer) start() {
	f.grpc = grpc.NewServer(
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second}),
		grpc.MaxSendMsgSize(1<<30), grpc.MaxRecvMsgSize(1<<30))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(f.grpc, f)
	l := f.network.listen(f.addr)
	go f.grpc.Serve(l) // ends with stop, which goleak checks
}

// stop kills the server: its port refuses, its streams break.
func (f *fakeServer) stop() {
	f.network.mu.Lock()
	delete(f.network.listeners, f.addr)
	f.network.mu.Unlock()
	f.grpc.Stop()
}

// set publishes a resource.
func (f *fakeServer) set(typeURL, name, version, content string) {
	f.update(func() {
		f.resources[key{typeURL, name}] = &discoveryv3.Resource{
			Name:     name,
			Version:  version,
			Resource: &anypb.Any{TypeUrl: typeURL, Value: []byte(content)},
		}
	})
}

func (f *fakeServer) remove(typeURL, name string) {
	f.update(func() { delete(f.resources, key{typeURL, name}) })
}

// send sends a response as it is, but for its nonce, on every stream.
func (f *fakeServer) send(resp *discoveryv3.DeltaDiscoveryResponse) {
	f.update(func() {
		for s := range f.streams {
			s.raw = append(s.raw, proto.CloneOf(resp))
		}
	})
}

// setMute lets the server take streams and requests, and say nothing.
func (f *fakeServer) setMute(mute bool) { f.update(func() { f.mute = mute }) }

// refuse ends streams with err, those open and those to come; nil takes them again.
func (f *fakeServer) refuse(err error) { f.update(func() { f.refusal = err }) }

func (f *fakeServer) update(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	for s := range f.streams {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// take returns the requests received since the last take.
func (f *fakeServer) take() []*discoveryv3.DeltaDiscoveryRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.requests
	f.requests = nil
	return out
}

// subscribed returns the names that streams are subscribed to, sorted.
func (f *fakeServer) subscribed() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for s := range f.streams {
		for k := range s.names {
			out = append(out, k.name)
		}
	}
	slices.Sort(out)
	return out
}

// streamsOpened returns how many streams were ever opened.
func (f *fakeServer) streamsOpened() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.opened
}

// DeltaAggregatedResources serves one stream.
func (f *fakeServer) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	s := &fakeStream{wake: make(chan struct{}, 1), names: map[key]string{}, due: map[key]bool{}}
	f.mu.Lock()
	f.streams[s] = struct{}{}
	f.opened++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.streams, s)
		f.mu.Unlock()
	}()
	s.wake <- struct{}{}
	requests := make(chan *discoveryv3.DeltaDiscoveryRequest)
	go func() { // ends with the stream
		defer close(requests)
		for {
			req, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case requests <- req:
			case <-stream.Context().Done():
				return
			}
		}
	}()
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case req, ok := <-requests:
			if !ok {
				return nil
			}
			f.receive(s, req)
		case <-s.wake:
		}
		responses, err := f.responses(s)
		if err != nil {
			return err
		}
		for _, resp := range responses {
			if err := stream.Send(resp); err != nil {
				return err
			}
		}
	}
}

func (f *fakeServer) receive(s *fakeStream, req *discoveryv3.DeltaDiscoveryRequest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, proto.CloneOf(req))
	for _, name := range req.GetResourceNamesSubscribe() {
		k := key{req.GetTypeUrl(), name}
		offered, ok := req.GetInitialResourceVersions()[name]
		s.names[k] = offered
		s.due[k] = !ok
	}
	for _, name := range req.GetResourceNamesUnsubscribe() {
		delete(s.names, key{req.GetTypeUrl(), name})
	}
}

// responses returns what the stream has not been told yet, one response a type.
func (f *fakeServer) responses(s *fakeStream) ([]*discoveryv3.DeltaDiscoveryResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refusal != nil {
		return nil, f.refusal
	}
	if f.mute {
		return nil, nil
	}
	byType := map[string]*discoveryv3.DeltaDiscoveryResponse{}
	for k, sent := range s.names {
		res, ok := f.resources[k]
		if !s.due[k] && (ok && res.GetVersion() == sent || !ok && sent == "") {
			continue
		}
		resp := byType[k.typeURL]
		if resp == nil {
			resp = &discoveryv3.DeltaDiscoveryResponse{TypeUrl: k.typeURL}
			byType[k.typeURL] = resp
		}
		delete(s.due, k)
		s.names[k] = res.GetVersion()
		if ok {
			resp.Resources = append(resp.Resources, res)
		} else {
			resp.RemovedResources = append(resp.RemovedResources, k.name)
		}
	}
	var out []*discoveryv3.DeltaDiscoveryResponse
	for _, typeURL := range slices.Sorted(maps.Keys(byType)) {
		out = append(out, byType[typeURL])
	}
	out = append(out, s.raw...)
	s.raw = nil
	for _, resp := range out {
		s.nonce++
		resp.Nonce = fmt.Sprintf("%s-%d", f.addr, s.nonce)
	}
	return out, nil
}
