package daemon

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(t *testing.T) Config {
	t.Helper()
	return Config{
		Listen: "127.0.0.1:0",
		HTTP:   "127.0.0.1:0",
		Socket: NoSocket,
		Data:   filepath.Join(t.TempDir(), "data"),
		Logger: slog.New(slog.DiscardHandler),
	}
}

// run runs a daemon until the test ends.
func run(t *testing.T, c Config) *Daemon {
	t.Helper()
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return d
}

func TestDaemonServesOnEveryListenerAndStops(t *testing.T) {
	c := config(t)
	c.Socket = filepath.Join(t.TempDir(), "tulle", "xds.sock")
	d := run(t, c)
	for _, target := range []string{d.listeners[0].Addr().String(), "unix://" + c.Socket} {
		conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(member(t, d, "web")))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err != nil || answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%s: %v, %v, want SERVING", target, answer.GetStatus(), err)
		}
		cancel()
		conn.Close()
	}
	for path, want := range map[string]os.FileMode{
		c.Socket: 0o600, filepath.Join(filepath.Dir(c.Socket), AdminSocket): 0o600, filepath.Dir(c.Socket): 0o700,
	} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v, want %v", path, info.Mode().Perm(), err, want)
		}
	}
	overSocket := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(filepath.Dir(c.Socket), AdminSocket))
	}}}
	defer overSocket.CloseIdleConnections()
	for url, client := range map[string]*http.Client{"http://" + d.admin[0].Addr().String(): http.DefaultClient, "http://localhost": overSocket} {
		status, err := adminv1connect.NewAdminServiceClient(client, url).GetStatus(t.Context(), &adminv1.GetStatusRequest{})
		if err != nil || len(status.GetListeners()) != 4 {
			t.Errorf("%s: listeners %v, %v, want four", url, status.GetListeners(), err)
		}
		if got := status.GetSecurity().GetAuthority().GetTrustDomain(); got != DefaultTrustDomain {
			t.Errorf("%s: trust domain %q, want %q", url, got, DefaultTrustDomain)
		}
	}
}

func TestAdminIsForThisMachineOnly(t *testing.T) {
	d := run(t, config(t))
	url := "http://" + d.admin[0].Addr().String()
	for name, change := range map[string]func(*http.Request){
		"another host's name (DNS rebinding)": func(r *http.Request) { r.Host = "attacker.test" },
		"a web page of another origin":        func(r *http.Request) { r.Header.Set("Origin", "https://attacker.test") },
		"a page of another site, by fetch":    func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/tulle.admin.v1.AdminService/List", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			change(request)
			answer, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if answer.StatusCode != http.StatusForbidden {
				t.Errorf("got %s, want 403", answer.Status)
			}
		})
	}
}

func TestNewLeavesNothingBehindWhenItFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no data directory":             {func(c *Config) { c.Data = "" }, "--data"},
		"a data directory that is none": {func(c *Config) { c.Data = file }, file},
		"a mesh port in use":            {func(c *Config) { c.Listen = taken.Addr().String() }, "--listen " + taken.Addr().String() + " is in use"},
		"an admin port in use":          {func(c *Config) { c.HTTP = taken.Addr().String() }, "--http " + taken.Addr().String() + " is in use"},
		"a dashboard for others alone":  {func(c *Config) { c.HTTP = "10.0.0.1:0" }, "needs --socket"},
		"a dashboard that none signs for": {func(c *Config) {
			c.HTTP, c.Socket, c.CA = "10.0.0.1:0", filepath.Join(c.Data, "..", "run", "s"), "workload-api"
		}, "--http-cert and --http-key"},
		"a certificate without its key":  {func(c *Config) { c.HTTPCert = "cert.pem" }, "go together"},
		"a certificate for this machine": {func(c *Config) { c.HTTPCert, c.HTTPKey = "cert.pem", "key.pem" }, "leave it out"},
		"a certificate that is not there": {func(c *Config) {
			c.HTTP, c.Socket, c.HTTPCert, c.HTTPKey = "0.0.0.0:0", filepath.Join(c.Data, "..", "run", "s"), "cert.pem", "key.pem"
		}, "--http-cert cert.pem"},
		"no port at all":                {func(c *Config) { c.Listen = "localhost" }, "host:port"},
		"a socket that is a file":       {func(c *Config) { c.Socket = file }, "is no socket"},
		"a socket with a path too long": {func(c *Config) { c.Socket = "/" + strings.Repeat("a", 110) }, "103 are the most"},
		"a trust domain that is none":   {func(c *Config) { c.TrustDomain = "Tulle Local" }, "--trust-domain"},
		"an authority that is none":     {func(c *Config) { c.CA = "vault" }, `--ca "vault" is no authority, want built-in, files:DIR, workload-api[:ADDRESS] or consul`},
		"files of an authority missing": {func(c *Config) { c.CA = "files:" + filepath.Dir(file) }, "tls.crt"},
		"an issuer that is none":        {func(c *Config) { c.OIDC = []string{"https://issuer.test"} }, "--oidc"},
		"a life below nothing":          {func(c *Config) { c.LeafTTL = -time.Hour }, "--leaf-ttl -1h0m0s"},
		"a leaf longer than its issuer": {func(c *Config) { c.LeafTTL = 10000 * time.Hour }, "IntermediateTTL"},
		"a configuration nobody wrote":  {func(c *Config) { c.Path = file + ".yaml" }, file + ".yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			again := config(t)
			c := again
			test.change(&c)
			if _, err := New(c); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			// What it had opened is free again.
			d, err := New(again)
			if err != nil {
				t.Fatal(err)
			}
			d.close()
		})
	}
}

func TestSocketOfAKilledServerIsTakenOver(t *testing.T) {
	c := config(t)
	c.Socket = filepath.Join(t.TempDir(), "xds.sock")
	if err := os.Chmod(filepath.Dir(c.Socket), 0o700); err != nil {
		t.Fatal(err)
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: c.Socket})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	run(t, c)
	second := config(t)
	second.Socket = c.Socket
	if _, err := New(second); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("got %v, want an error that the socket is in use", err)
	}
}
