package serve

import (
	"context"
	"log/slog"
	"strconv"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/tulle-mesh/tulle/bench/control/ordinary"
	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
)

// benchServices is how many services the mesh of the benchmarks has.
const benchServices = 200

func serviceName(i int) string { return "service-" + strconv.Itoa(i) + ".shop" }

func nodeName(i int) string { return "web/" + strconv.Itoa(i) }

// benchNames are the services of one client: the one that changes, and nine that
// differ from client to client.
func benchNames(client int) []string {
	names := []string{serviceName(0)}
	for i := range 9 {
		names = append(names, serviceName(1+(client*9+i)%(benchServices-1)))
	}
	return names
}

// still is a stream nobody reads from or writes to: the benchmarks call what its
// goroutines would.
type still struct {
	grpc.ServerStream
}

func (still) Context() context.Context { return context.Background() }

// newStill opens a stream that subscribes to ten services, and settles it.
func newStill(b *testing.B, s *Server, client int) *stream {
	b.Helper()
	st := &stream{server: s, grpc: still{}}
	st.state.Store(waiting) // in line for ever, so that no worker takes it
	s.mu.Lock()
	s.streams[st] = struct{}{}
	s.mu.Unlock()
	for i, u := range []string{lds, rds, cds, eds} {
		req := &discoveryv3.DiscoveryRequest{TypeUrl: u, ResourceNames: benchNames(client)}
		if i == 0 {
			req.Node = &corev3.Node{Id: nodeName(client)}
		}
		receive(b, st, marshal(req))
	}
	for _, r := range st.plan(nil) {
		k := kindIn(r)
		receive(b, st, acknowledgement(k, st.subs[k].nonce, client))
	}
	return st
}

// kindIn is the kind of a response.
func kindIn(r *response) kind {
	m := new(discoveryv3.DiscoveryResponse)
	if err := proto.Unmarshal(r.parts.Materialize(), m); err != nil {
		panic(err)
	}
	k, _ := kindOf([]byte(m.GetTypeUrl()))
	return k
}

func acknowledgement(k kind, nonce uint64, client int) []byte {
	return marshal(&discoveryv3.DiscoveryRequest{
		TypeUrl: k.url(), ResourceNames: benchNames(client), VersionInfo: "1",
		ResponseNonce: strconv.FormatUint(nonce, 10),
	})
}

func receive(b testing.TB, st *stream, message []byte) {
	b.Helper()
	var req request
	if err := (codec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(message)}, &req.encoded); err != nil {
		b.Fatal(err)
	}
	if err := st.receive(&req); err != nil {
		b.Fatal(err)
	}
	req.free()
}

// benchWorld is the mesh of the benchmarks, at a version of the one service
// everybody subscribes to.
func benchWorld(number int) *snapshot.Snapshot {
	s := &snapshot.Snapshot{Types: make(map[string]map[string]*snapshot.Resource)}
	for _, u := range []string{lds, rds, cds, eds} {
		s.Types[u] = make(map[string]*snapshot.Resource)
		for i := range benchServices {
			put(s, u, serviceName(i), ordinary.Resource(u, serviceName(i), 0))
		}
	}
	put(s, eds, serviceName(0), ordinary.Resource(eds, serviceName(0), number))
	return s
}

// BenchmarkPublish is the part of an update that is not the transport's: a
// snapshot with one changed resource of 800 is compared and stored, and 1,000
// streams are woken.
func BenchmarkPublish(b *testing.B) {
	s := New(Config{Logger: slog.New(slog.DiscardHandler)})
	worlds := [2]*snapshot.Snapshot{benchWorld(0), benchWorld(1)}
	s.Publish(worlds[0])
	for i := range 1000 {
		newStill(b, s, i)
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		s.Publish(worlds[i%2])
		for st := range s.streams { // as if they had looked
			st.dirty.Store(0)
		}
	}
}

// BenchmarkStream is what one stream does for an update: plan the response, and
// take in the acknowledgement.
func BenchmarkStream(b *testing.B) {
	s := New(Config{Logger: slog.New(slog.DiscardHandler)})
	worlds := [2]*snapshot.Snapshot{benchWorld(0), benchWorld(1)}
	s.Publish(worlds[0])
	st := newStill(b, s, 0)
	var acks [10][]byte
	for i := range acks {
		acks[i] = acknowledgement(endpoints, uint64(i+1)<<32, 0)
	}
	var queue []*response
	var req request
	entries := [2]*entry{s.tables[endpoints].topics[serviceName(0)].current, newEntry(serviceName(0), worlds[1].Types[eds][serviceName(0)])}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		s.tables[endpoints].topics[serviceName(0)].current = entries[i%2]
		st.mark(endpoints, 1)
		st.responses = uint32(i % 10)
		if queue = st.plan(queue[:0]); len(queue) != 1 {
			b.Fatalf("%d responses, want 1", len(queue))
		}
		st.subs[endpoints].nonce = uint64(st.responses) << 32 // as in an acknowledgement that is encoded already
		if err := (codec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(acks[i%10])}, &req.encoded); err != nil {
			b.Fatal(err)
		}
		if err := st.receive(&req); err != nil {
			b.Fatal(err)
		}
		req.free()
		if st.subs[endpoints].inflight {
			b.Fatal("not acknowledged")
		}
	}
}
