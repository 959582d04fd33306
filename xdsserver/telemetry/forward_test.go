package telemetry

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
)

// A collector keeps what it gets.
type sink struct {
	mu   sync.Mutex
	got  []*metricspb.MetricsData
	fail bool
	told chan struct{}
}

func (c *sink) export(_ context.Context, decode func(any) error) (*emptypb.Empty, error) {
	data := &metricspb.MetricsData{}
	if err := decode(data); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail {
		return nil, status.Error(codes.Unavailable, "busy")
	}
	c.got = append(c.got, data)
	c.told <- struct{}{}
	return &emptypb.Empty{}, nil
}

func startCollector(t *testing.T) (*sink, string) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &sink{told: make(chan struct{}, 100)}
	srv := grpc.NewServer()
	srv.RegisterService(&metricsService, c)
	var wait sync.WaitGroup
	wait.Go(func() { _ = srv.Serve(lis) })
	t.Cleanup(func() { srv.Stop(); wait.Wait() })
	return c, "grpc://" + lis.Addr().String()
}

// running opens a server and runs it to the end of the test.
func running(t *testing.T, c Config) *Server {
	t.Helper()
	c.Identify, c.Logger = identify, quiet
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wait.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// A collector gets what was reported, under the name of who reported it.
func TestReportsAreForwarded(t *testing.T) {
	c, address := startCollector(t)
	s := running(t, Config{Forward: address})
	p := newProcess("web", "w")
	p.call("voting", "/v/Vote", "OK", time.Millisecond)
	message := p.message()
	send(t, s, "web.shop", message)
	select {
	case <-c.told:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
	}
	got := map[string]string{}
	resource := c.got[0].GetResourceMetrics()[0]
	for _, a := range resource.GetResource().GetAttributes() {
		if got[a.GetKey()] != "" {
			t.Errorf("%s is there twice", a.GetKey())
		}
		got[a.GetKey()] = a.GetValue().GetStringValue()
	}
	if got["service.name"] != "web" || got["service.namespace"] != "shop" || got["tulle.identity"] != idOf("web.shop") || got["service.instance.id"] != "w" {
		t.Errorf("attributes %v", got)
	}
	var sent metricspb.MetricsData
	if err := proto.Unmarshal(message, &sent); err != nil {
		t.Fatal(err)
	}
	if len(resource.GetScopeMetrics()) != 1 || !proto.Equal(resource.GetScopeMetrics()[0], sent.GetResourceMetrics()[0].GetScopeMetrics()[0]) {
		t.Errorf("got %v", resource.GetScopeMetrics())
	}
}

// A collector that is dead, or takes nothing, costs a bounded queue, and no report waits.
func TestADeadCollectorCostsNothing(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	s := running(t, Config{Forward: "grpc://" + lis.Addr().String()})
	message := encoded(served(nil))
	begun := time.Now()
	n := 0
	for ; n < 2*maxQueued; n++ {
		if _, err := s.export(who([]string{"a", "b"}[n%2]), decoderOf(message)); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("%d reports took %v", n, took)
	}
	if dropped := s.forward.dropped.Load(); dropped < maxQueued-10 {
		t.Errorf("%d reports are dropped", dropped)
	}
	// What is queued is bounded in bytes, too.
	big := make([]byte, 4<<20)
	for range 10 {
		s.forward.put(big)
	}
	if n := s.forward.waiting.Load(); n > maxQueuedBytes {
		t.Errorf("%d bytes wait", n)
	}
}

func TestCollectorsAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"grpc://collector:4317":  "collector:4317 false",
		"grpc://collector":       "collector:4317 false",
		"grpcs://[::1]:99":       "[::1]:99 true",
		"http://a:4317/":         "a:4317 false",
		"https://a:4317":         "a:4317 true",
		"collector:4317":         "error",
		"":                       "error",
		"tcp://a:1":              "error",
		"grpc://user:secret@a:1": "error",
		"grpc://a:1/v1/metrics":  "error",
		"http://a:1?key=ABCD":    "error",
	} {
		target, secure, err := ParseForward(text)
		got := target + map[bool]string{true: " true", false: " false"}[secure]
		if err != nil {
			got = "error"
			if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "ABCD") {
				t.Errorf("%q: a secret is shown: %v", text, err)
			}
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
