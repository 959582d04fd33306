package xdsclient

import (
	"net"
	"path/filepath"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func TestServersOnRealSockets(t *testing.T) {
	for _, test := range []struct{ name, network, address, scheme string }{
		{"a TCP port", "tcp", "127.0.0.1:0", ""},
		{"a unix socket", "unix", filepath.Join(t.TempDir(), "xds.sock"), "unix:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := net.Listen(test.network, test.address)
			if err != nil {
				t.Fatal(err)
			}
			f := &fakeServer{resources: map[key]*discoveryv3.Resource{}, streams: map[*fakeStream]struct{}{}}
			f.set(typeA, "one", "v1", "one=1")
			server := grpc.NewServer()
			discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, f)
			go server.Serve(l)
			defer server.Stop()
			cfg := config(newNetwork(), test.scheme+l.Addr().String())
			cfg.DialOptions = []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
			h := startClient(t, cfg)
			told := make(chan struct{}, 10)
			s := h.Subscribe(typeA, "one", func() { told <- struct{}{} })
			<-told
			if st := s.State(); st.Value != "1" {
				t.Errorf("state is %+v", st)
			}
			h.stop()
		})
	}
}
