package xdsclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

const (
	typeA = "type.googleapis.com/test.v1.Alpha"
	typeB = "type.googleapis.com/test.v1.Beta"
)

// wire is a response as it comes over the wire.
func wire(t require, m *discoveryv3.DeltaDiscoveryResponse) *xdsv3.DeltaDiscoveryResponse {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatalf("%v: %v", m, err)
	}
	out := new(xdsv3.DeltaDiscoveryResponse)
	if err := out.Unmarshal(b); err != nil {
		t.Fatalf("%v: %v", m, err)
	}
	return out
}

// official is a request as others read it.
func official(t require, m *xdsv3.DeltaDiscoveryRequest) *discoveryv3.DeltaDiscoveryRequest {
	t.Helper()
	b, err := m.Append(nil)
	if err != nil {
		t.Fatalf("%v: %v", m, err)
	}
	out := new(discoveryv3.DeltaDiscoveryRequest)
	if err := proto.Unmarshal(b, out); err != nil {
		t.Fatalf("%v: %v", m, err)
	}
	return out
}

// require is a test of any kind.
type require interface {
	Helper()
	Fatalf(format string, args ...any)
}

// parse decodes "name=text". The text "bad" is refused, "panic" panics, and the
// value is the text.
func parse(b []byte) (string, any, error) {
	name, text, ok := strings.Cut(string(b), "=")
	switch {
	case !ok:
		return "", nil, errors.New("there is no =")
	case text == "bad":
		return "", nil, errors.New("text: bad is not good enough")
	case text == "panic":
		panic("the decoder met a bug")
	}
	return name, text, nil
}

// A harness is a client that runs until stop.
type harness struct {
	*Client
	t      testing.TB
	log    *logBuffer
	cancel context.CancelFunc
	ended  chan error
}

// config returns a Config that dials servers on n.
func config(n *network, servers ...string) Config {
	return Config{
		Servers: servers,
		DialOptions: []grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(n.dial),
		},
		Node:  &xdsv3.Node{Id: "web/1", Cluster: "web"},
		Types: []Type{{URL: typeA, Decode: parse}, {URL: typeB, Decode: parse}},
	}
}

// newClient makes a client without running it.
func newClient(t testing.TB, cfg Config) *harness {
	t.Helper()
	h := &harness{t: t, log: &logBuffer{}, ended: make(chan error, 1)}
	cfg.Logger = slog.New(slog.NewTextHandler(h.log, nil))
	var err error
	if h.Client, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return h
}

// startClient makes a client and runs it, until the test ends at the latest.
func startClient(t testing.TB, cfg Config) *harness {
	t.Helper()
	h := newClient(t, cfg)
	h.run()
	return h
}

func (h *harness) run() {
	ctx, cancel := context.WithCancel(h.t.Context())
	h.cancel = cancel
	go func() { h.ended <- h.Run(ctx) }()
	h.t.Cleanup(h.stop)
}

// stop ends the client and waits for it.
func (h *harness) stop() {
	h.cancel()
	err, ok := <-h.ended
	if ok {
		close(h.ended)
	}
	if err != nil {
		h.t.Errorf("Run returned %v", err)
	}
}

// A watch is a subscription that counts its notifications.
type watch struct {
	*Subscription
	told atomic.Int32
}

func (h *harness) watch(typeURL, name string) *watch {
	w := &watch{}
	w.Subscription = h.Subscribe(typeURL, name, func() { w.told.Add(1) })
	return w
}

// tellings returns how often the watch was notified since it was last asked.
func (w *watch) tellings() int { return int(w.told.Swap(0)) }

// text writes a State for comparison: `one@v1`, `one@v1 stale`, `unknown`...
func (w *watch) text() string {
	st := w.State()
	var b strings.Builder
	switch {
	case st.Value != nil:
		fmt.Fprintf(&b, "%v@%s", st.Value, st.Version)
	case st.Err != nil:
		fmt.Fprintf(&b, "error: %v", st.Err)
	default:
		b.WriteString("nothing")
	}
	if st.Stale {
		b.WriteString(" stale")
	}
	if st.Ambient != nil {
		fmt.Fprintf(&b, " but %v", st.Ambient)
	}
	if !st.Known {
		b.WriteString(" unknown")
	}
	return b.String()
}

func (w *watch) want(t *testing.T, want string) {
	t.Helper()
	if got := w.text(); got != want {
		t.Errorf("%s is %q, want %q", w.resource.name, got, want)
	}
}

// settle waits d and until everything has come to rest.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// res builds a resource of typeA.
func res(name, version, content string) *discoveryv3.Resource {
	return &discoveryv3.Resource{Name: name, Version: version, Resource: &anypb.Any{TypeUrl: typeA, Value: []byte(content)}}
}

// A logBuffer holds what was logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// wantCount fails unless the text was logged n times.
func (l *logBuffer) wantCount(t *testing.T, text string, n int) {
	t.Helper()
	if got := strings.Count(l.String(), text); got != n {
		t.Errorf("%q was logged %d times, want %d; the log:\n%s", text, got, n, l)
	}
}
