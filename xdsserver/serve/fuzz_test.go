package serve

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func marshal(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

// requestSeeds are requests of both forms with every field.
func requestSeeds() [][]byte {
	node := &corev3.Node{Id: "node", UserAgentName: "fuzz"}
	failure := &statuspb.Status{Code: 3, Message: `resource "a": bad`}
	return [][]byte{
		nil,
		{0xff},
		marshal(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: lds}),
		marshal(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: eds, ResourceNames: []string{"a", "b", "a"}}),
		marshal(&discoveryv3.DiscoveryRequest{
			Node: node, TypeUrl: cds, ResourceNames: []string{"*"}, VersionInfo: "1", ResponseNonce: "1", ErrorDetail: failure,
		}),
		marshal(&discoveryv3.DiscoveryRequest{TypeUrl: cds, ResourceLocators: []*discoveryv3.ResourceLocator{{Name: "a"}}}),
		marshal(&discoveryv3.DeltaDiscoveryRequest{
			Node: node, TypeUrl: rds, ResourceNamesSubscribe: []string{"a", "x"}, ResourceNamesUnsubscribe: []string{"b"},
			InitialResourceVersions: map[string]string{"a": "1", "y": "2"}, ResponseNonce: "1", ErrorDetail: failure,
		}),
		marshal(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: cds, ResourceNamesSubscribe: []string{"*"}}),
	}
}

// FuzzRequest holds the request parser against protobuf's.
func FuzzRequest(f *testing.F) {
	for _, b := range requestSeeds() {
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, delta bool) {
		var req request
		if err := (codec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, &req.encoded); err != nil {
			t.Fatal(err)
		}
		defer req.free()
		l := &sotwLayout
		if delta {
			l = &deltaLayout
		}
		before := slices.Clone(b)
		err := req.parse(l)
		if !slices.Equal(before, b) {
			t.Fatal("the request was written to")
		}
		var names []string
		initial := make(map[string]string)
		if err == nil {
			_ = req.each(l.names, func(n []byte) error {
				names = append(names, string(n))
				return nil
			})
			_ = req.each(l.initial, func(v []byte) error {
				key, value, err := pair(v)
				initial[string(key)] = string(value)
				return err
			})
		}
		var want interface {
			proto.Message
			GetNode() *corev3.Node
			GetTypeUrl() string
			GetResponseNonce() string
			GetErrorDetail() *statuspb.Status
		}
		var wantNames []string
		if delta {
			m := new(discoveryv3.DeltaDiscoveryRequest)
			if proto.Unmarshal(b, m) != nil {
				return // ours may take what has bad text in it, and refuses that later
			}
			want, wantNames = m, m.GetResourceNamesSubscribe()
			if len(initial) != len(m.GetInitialResourceVersions()) {
				t.Errorf("initial versions %v, want %v", initial, m.GetInitialResourceVersions())
			}
		} else {
			m := new(discoveryv3.DiscoveryRequest)
			if proto.Unmarshal(b, m) != nil {
				return
			}
			want, wantNames = m, m.GetResourceNames()
			if string(req.version) != m.GetVersionInfo() {
				t.Errorf("version %q, want %q", req.version, m.GetVersionInfo())
			}
		}
		if err != nil {
			t.Fatalf("%v, but protobuf takes it", err)
		}
		if !slices.Equal(names, wantNames) {
			t.Errorf("names %q, want %q", names, wantNames)
		}
		if string(req.typeURL) != want.GetTypeUrl() || string(req.nonce) != want.GetResponseNonce() {
			t.Errorf("type %q and nonce %q, want %q and %q", req.typeURL, req.nonce, want.GetTypeUrl(), want.GetResponseNonce())
		}
		if (req.failure != nil) != (want.GetErrorDetail() != nil) || (req.node != nil) != (want.GetNode() != nil) {
			t.Errorf("failure %v and node %v, want %v and %v", req.failure, req.node, want.GetErrorDetail(), want.GetNode())
		}
		var node corev3.Node
		if err := proto.Unmarshal(req.node, &node); err != nil || !proto.Equal(&node, or(want.GetNode(), new(corev3.Node))) {
			t.Errorf("node %v, want %v", &node, want.GetNode())
		}
	})
}

func or[T comparable](a, b T) T {
	var zero T
	if a == zero {
		return b
	}
	return a
}

// FuzzStream sends requests of any content, one after the other, while content
// changes. The stream may end with a clear error; nothing else may happen.
func FuzzStream(f *testing.F) {
	var script []byte
	for _, b := range requestSeeds() {
		script = append(append(script, byte(len(b))), b...)
		f.Add(append([]byte{byte(len(b))}, b...), false, false)
		f.Add(append([]byte{byte(len(b))}, b...), true, true)
	}
	f.Add(script[2+1:], false, true)
	f.Add(script[2+1:], true, false)
	f.Fuzz(func(t *testing.T, script []byte, delta, warm bool) {
		synctest.Test(t, func(t *testing.T) {
			c := Config{Logger: slog.New(slog.DiscardHandler), MaxNames: 8}
			if warm {
				c.WarmUntil = time.Now().Add(time.Minute)
			}
			s := New(c)
			defer s.Close()
			fake := newFake(s, delta, func() *discoveryv3.DeltaDiscoveryResponse { return new(discoveryv3.DeltaDiscoveryResponse) })
			w := full("a", "b")
			for i := 0; len(script) > 0; i++ {
				n := min(int(script[0]), len(script)-1)
				s.Publish(w.with([]string{lds, rds, cds, eds}[i%4], "a", fmt.Sprint("v", i%3)).snapshot(uint64(i)))
				if !fake.send(script[1 : 1+n]) {
					break
				}
				script = script[1+n:]
				for range len(fake.out) { // both forms of response agree in what is read here
					<-fake.out
				}
				s.Ledger()
			}
			if warm {
				time.Sleep(time.Minute)
			}
			err := fake.end()
			switch status.Code(err) {
			case codes.OK, codes.InvalidArgument, codes.ResourceExhausted, codes.DeadlineExceeded:
			default:
				t.Errorf("ended with %v", err)
			}
			for k := range s.tables {
				if got := len(s.tables[k].topics); got > 2 || len(s.tables[k].wild) > 0 {
					t.Errorf("%v: %d names are known after the end", kind(k), got)
				}
			}
		})
	})
}
