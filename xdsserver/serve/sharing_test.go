package serve

import (
	"math"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
)

// Resources are shared by all streams and by whoever published them, so that one
// byte written by a transport would reach everybody.
func TestSharedBytesAreNeverWritten(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		snap := full("a", "b").snapshot(1)
		before := make(map[*snapshot.Resource]string)
		for _, contents := range snap.Types {
			for _, res := range contents {
				before[res] = string(res.Any)
			}
		}
		r.Publish(snap)

		plain, delta := r.sotw("plain"), r.delta("delta")
		packed, err := discoveryv3.NewAggregatedDiscoveryServiceClient(r.dial()).
			StreamAggregatedResources(r.Context(), grpc.UseCompressor(gzip.Name))
		if err != nil {
			r.Fatal(err)
		}
		for i, u := range []string{cds, eds, lds, rds} {
			ask(plain, u, nil, "a", "b")
			subscribe(delta, u, nil, "a", "b")
			req := &discoveryv3.DiscoveryRequest{TypeUrl: u, ResourceNames: []string{"a", "b"}}
			if i == 0 {
				req.Node = plain.node
			}
			if err := packed.Send(req); err != nil {
				r.Fatal(err)
			}
			got, err := packed.Recv()
			if err != nil {
				r.Fatal(err)
			}
			if len(got.GetResources()) != 2 {
				r.Errorf("%d resources through gzip, want 2", len(got.GetResources()))
			}
		}
		if n := len(plain.pending()) + len(delta.pending()); n != 8 {
			r.Errorf("%d responses, want 8", n)
		}
		for res, want := range before {
			if string(res.Any) != want {
				r.Errorf("%s was written to", res.Name)
			}
		}
	})
}

// What is assembled by hand must be what protobuf makes of the same message.
func TestResponsesAreTheMessagesTheySay(t *testing.T) {
	res := encode("a", message(eds, "a", "v1"))
	e := newEntry("a", res)

	r := newResponse(1)
	r.add(e, false)
	r.seal(endpoints, 7, false, 42)
	got := new(discoveryv3.DiscoveryResponse)
	if err := proto.Unmarshal(r.parts.Materialize(), got); err != nil {
		t.Fatal(err)
	}
	want := &discoveryv3.DiscoveryResponse{VersionInfo: res.Version, TypeUrl: eds, Nonce: "7"}
	want.Resources = append(want.Resources, e.any())
	if !proto.Equal(want, got) {
		t.Errorf("got %v, want %v", got, want)
	}

	r = newResponse(1)
	r.add(e, true)
	r.remove("x")
	r.remove("y")
	r.seal(endpoints, math.MaxUint64, true, 42)
	gotDelta := new(discoveryv3.DeltaDiscoveryResponse)
	if err := proto.Unmarshal(r.parts.Materialize(), gotDelta); err != nil {
		t.Fatal(err)
	}
	wantDelta := &discoveryv3.DeltaDiscoveryResponse{
		SystemVersionInfo: "42", TypeUrl: eds, Nonce: "18446744073709551615", RemovedResources: []string{"x", "y"},
		Resources: []*discoveryv3.Resource{{Name: "a", Version: res.Version, Resource: e.any()}},
	}
	if !proto.Equal(wantDelta, gotDelta) {
		t.Errorf("got %v, want %v", gotDelta, wantDelta)
	}
	if r.size != len(r.parts.Materialize()) {
		t.Errorf("size %d, want %d", r.size, len(r.parts.Materialize()))
	}
}

// The codec serves the other services of the same server, too.
func TestTheCodecLeavesOtherMessagesToProtobuf(t *testing.T) {
	in := &discoveryv3.DiscoveryRequest{TypeUrl: eds}
	b, err := codec{}.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	out := new(discoveryv3.DiscoveryRequest)
	if err := (codec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(b.Materialize())}, out); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(in, out) {
		t.Errorf("got %v, want %v", out, in)
	}
}
