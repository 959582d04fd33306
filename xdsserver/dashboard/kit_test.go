package dashboard

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
	"github.com/tulle-mesh/tulle/xdsserver/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mesh is an admin API that says what a test wants.
type mesh struct {
	adminv1connect.UnimplementedAdminServiceHandler

	graphs   atomic.Int64 // how often it was asked
	services atomic.Int64
	revision atomic.Int64
	rps      atomic.Int64
	padding  string // makes the graph large
	tap      func(context.Context, *adminv1.TapRequest, func(*adminv1.TapResponse) error) error

	mu     sync.Mutex
	caller admin.Caller
}

func (m *mesh) GetGraph(context.Context, *adminv1.GetGraphRequest) (*adminv1.GetGraphResponse, error) {
	m.graphs.Add(1)
	return &adminv1.GetGraphResponse{Services: []*adminv1.ServiceStat{{
		Service: "voting" + m.padding, Inbound: &adminv1.Golden{Rps: float64(m.rps.Load())},
	}}}, nil
}

func (m *mesh) GetServiceStats(_ context.Context, r *adminv1.GetServiceStatsRequest) (*adminv1.GetServiceStatsResponse, error) {
	m.services.Add(1)
	if r.GetService() == "panics" {
		panic("on purpose")
	}
	return &adminv1.GetServiceStatsResponse{Service: &adminv1.ServiceStat{Service: r.GetService()}}, nil
}

func (m *mesh) GetStatus(context.Context, *adminv1.GetStatusRequest) (*adminv1.GetStatusResponse, error) {
	return &adminv1.GetStatusResponse{StoreRevision: m.revision.Load()}, nil
}

func (m *mesh) List(ctx context.Context, _ *adminv1.ListRequest) (*adminv1.ListResponse, error) {
	caller, _ := admin.CallerFrom(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.caller = caller
	return &adminv1.ListResponse{Revision: 7}, nil
}

func (m *mesh) Apply(context.Context, *adminv1.ApplyRequest) (*adminv1.ApplyResponse, error) {
	return &adminv1.ApplyResponse{Revision: 8}, nil
}

func (m *mesh) Tap(ctx context.Context, r *adminv1.TapRequest, out *connect.ServerStream[adminv1.TapResponse]) error {
	return m.tap(ctx, r, out.Send)
}

// A site is a dashboard on a port, and a browser of it.
type site struct {
	*Server

	mesh   *mesh
	url    string
	client *http.Client
	jar    *cookiejar.Jar
	log    *syncedLog
}

type syncedLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *syncedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *syncedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// open serves a dashboard until the test ends, over TCP of this machine.
func open(t *testing.T) *site {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, lis, "http://"+lis.Addr().String(), nil)
}

// serve serves a dashboard on a listener until the test ends. A browser reaches it by
// dial; nil is over the network.
func serve(t *testing.T, lis net.Listener, at string, dial func(context.Context, string, string) (net.Conn, error)) *site {
	t.Helper()
	log := &syncedLog{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	m := &mesh{}
	d := New(Config{
		API: m, URL: at, Hosts: []string{"mesh.test"}, Version: "1.2.3", TrustDomain: "tulle.local", Logger: logger,
		Audit: func(event, what string) error {
			logger.Info("audit", "event", event, "what", what)
			return nil
		},
	})
	srv := admin.New(admin.Config{Published: func() *admin.Publication { return nil }, Logger: logger}).HTTPServer(d.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = d.Run(ctx) })
	wg.Go(func() { _ = srv.Serve(lis) })
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 4}
	t.Cleanup(func() {
		cancel()
		transport.CloseIdleConnections()
		_ = srv.Close()
		wg.Wait()
	})
	return &site{Server: d, mesh: m, url: at, jar: jar, log: log, client: &http.Client{
		Transport: transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

var everything = []admin.Right{admin.MayView, admin.MayApply, admin.MayTap, admin.MayPayload}

// address makes a login, of everything when no right is named.
func (s *site) address(t *testing.T, may ...admin.Right) string {
	t.Helper()
	if len(may) == 0 {
		may = everything
	}
	l, err := s.CreateLogin(admin.LoginRequest{By: "user 7", May: may, Session: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return l.URL
}

// enter comes in by an address that is made for it.
func (s *site) enter(t *testing.T, may ...admin.Right) {
	t.Helper()
	answer := s.do(t, get(t, s.address(t, may...)))
	if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/" {
		t.Fatalf("login: got %s to %q, want 303 to /", answer.Status, answer.Header.Get("Location"))
	}
}

// cookieOf is that of the browser's session.
func (s *site) cookieOf(t *testing.T) *http.Cookie {
	t.Helper()
	u, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range s.jar.Cookies(u) {
		if c.Name == cookieName {
			return c
		}
	}
	return &http.Cookie{Name: cookieName}
}

func get(t *testing.T, address string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if u := r.URL; strings.HasPrefix(u.Path, "/api/") {
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	return r
}

// post is a call of the API as our page makes it.
func post(t *testing.T, address, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set(requestHeader, "1")
	return r
}

const methodPath = "/api/tulle.admin.v1.AdminService/"

// A reply is an answer that was read.
type reply struct {
	Status     string
	StatusCode int
	Header     http.Header
	text       string
	cookies    []*http.Cookie
}

// do sends a request and reads its answer, which must carry no permission for others.
func (s *site) do(t *testing.T, r *http.Request) reply {
	t.Helper()
	answer, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for name := range answer.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%s %s: answered with %s", r.Method, r.URL.Path, name)
		}
	}
	return reply{Status: answer.Status, StatusCode: answer.StatusCode, Header: answer.Header, text: string(body), cookies: answer.Cookies()}
}

// An event is one of a stream.
type event struct{ name, data string }

// events opens a stream; next returns its next event, and none at its end.
func (s *site) events(t *testing.T, path string) (next func() (event, bool), end func()) {
	t.Helper()
	answer, err := s.client.Do(get(t, s.url+path)) //nolint:bodyclose // end closes it
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" {
		answer.Body.Close()
		t.Fatalf("%s: got %s, %s", path, answer.Status, answer.Header.Get("Content-Type"))
	}
	lines := bufio.NewReader(answer.Body)
	return func() (event, bool) {
		var e event
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return e, false
			}
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch name {
			case "event":
				e.name = value
			case "data":
				e.data = value
			case "":
				if e.name != "" {
					return e, true
				}
				if value == "keepalive" {
					e.name = value
				}
			}
		}
	}, func() { answer.Body.Close() }
}
