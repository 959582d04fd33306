package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/examples/hello/hellov1"
	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/xdsserver/daemon"
)

// patience is how long a busy machine may take for anything.
const patience = 90 * time.Second

// freePort is one that nobody listens on now.
func freePort(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}

// until tries again until it works.
func until(t *testing.T, try func() error) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(err)
		}
	}
}

// moody greets, and fails every tenth time.
type moody struct {
	hellov1.UnimplementedGreeterServiceServer
	mu sync.Mutex
	n  int
}

func (m *moody) Greet(context.Context, *hellov1.GreetRequest) (*hellov1.GreetResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n++; m.n%10 == 0 {
		return nil, status.Error(codes.Internal, "moody")
	}
	return &hellov1.GreetResponse{}, nil
}

// startMesh runs an xdsserver, the service greeter, and web, which calls it without end.
// It returns where metrics are.
func startMesh(t *testing.T) string {
	t.Helper()
	// A socket's path must be short.
	dir, err := os.MkdirTemp("", "tulle") //nolint:usetesting // its name would be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	socket, metrics := filepath.Join(dir, "run", "xds.sock"), freePort(t)
	d, err := daemon.New(daemon.Config{
		Data: filepath.Join(dir, "data"), Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", Socket: socket, MetricsListen: metrics, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wait.Wait()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	join := func(service string) *mesh.Mesh {
		m, err := mesh.Join(ctx, mesh.Config{Service: service, Server: "unix://" + socket, StateDir: filepath.Join(dir, service), Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
		return m
	}
	greeter := join("greeter").NewServer()
	hellov1.RegisterGreeterServiceServer(greeter, &moody{})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = greeter.Serve(lis) })
	t.Cleanup(func() { greeter.Stop(); serving.Wait() })

	web := join("web")
	conn, err := web.NewClient("mesh:///greeter")
	if err != nil {
		t.Fatal(err)
	}
	calls, stop := context.WithCancel(ctx)
	var calling sync.WaitGroup
	calling.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-calls.Done():
				return
			case <-tick.C:
				_, _ = hellov1.NewGreeterServiceClient(conn).Greet(calls, &hellov1.GreetRequest{})
			}
		}
	})
	// An endpoint that comes and goes has something to be published.
	calling.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for calls.Err() == nil {
			r, err := web.Register("127.0.0.1:9")
			if err != nil {
				t.Error(err)
				return
			}
			<-tick.C
			r.Close()
		}
	})
	t.Cleanup(func() { stop(); calling.Wait(); conn.Close() })
	return metrics
}

// startPrometheus runs the real one, by the configuration that is here but for its
// target and its pace, and returns its address.
func startPrometheus(t *testing.T, target string) string {
	t.Helper()
	program := tool(t, "prometheus")
	dir := t.TempDir()
	text, err := os.ReadFile("prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	alerts, err := filepath.Abs("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	config := strings.NewReplacer("127.0.0.1:18081\"]", target+"\"]", "alerts.yml", alerts, "interval: 10s", "interval: 1s").Replace(string(text))
	if !strings.Contains(config, target) || strings.Contains(config, "interval: 10s") {
		t.Fatalf("prometheus.yml has changed, and this test has not:\n%s", config)
	}
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freePort(t)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("prometheus said:\n%s", b)
		}
		log.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return address
}

// A result is an answer of Prometheus's API.
type result struct {
	Status, Error string
	Data          struct {
		Result []struct {
			Value [2]any `json:"value"`
		} `json:"result"`
		Groups []struct {
			Rules []struct {
				Name, Health, LastError string
			} `json:"rules"`
		} `json:"groups"`
	} `json:"data"`
}

func ask(t *testing.T, address string) (r result, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address, http.NoBody)
	if err != nil {
		return r, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(b, &r)
}

// Every panel shows something of a mesh that lives, by a Prometheus that scrapes a real
// xdsserver, and no alert fails to be judged.
func TestEveryPanelShowsSomething(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for Prometheus to have scraped a while")
	}
	tool(t, "prometheus")
	prometheus := startPrometheus(t, startMesh(t))
	shown := 0
	for file, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				query := prometheus + "/api/v1/query?query=" + url.QueryEscape(fill(target.Expr, "greeter"))
				until(t, func() error {
					r, err := ask(t, query)
					switch {
					case err != nil:
						return err
					case r.Status != "success":
						return fmt.Errorf("%s, %s: %s: %s", file, p.Title, r.Error, target.Expr)
					case len(r.Data.Result) == 0:
						return fmt.Errorf("%s, %s shows nothing: %s", file, p.Title, target.Expr)
					}
					for _, row := range r.Data.Result {
						if row.Value[1] == "NaN" {
							return fmt.Errorf("%s, %s shows NaN: %s", file, p.Title, target.Expr)
						}
					}
					return nil
				})
				shown++
			}
		}
	}
	t.Logf("%d queries show something", shown)
	until(t, func() error {
		r, err := ask(t, prometheus+"/api/v1/rules")
		if err != nil {
			return err
		}
		rules := 0
		for _, g := range r.Data.Groups {
			for _, rule := range g.Rules {
				if rule.Health != "ok" {
					return fmt.Errorf("%s: %s %s", rule.Name, rule.Health, rule.LastError)
				}
				rules++
			}
		}
		if rules == 0 {
			return fmt.Errorf("no rules: %s", r.Error)
		}
		return nil
	})
	// What they show is what happens: every tenth call fails.
	until(t, func() error {
		r, err := ask(t, prometheus+"/api/v1/query?query="+url.QueryEscape(
			`sum(increase(tulle_server_calls_total{destination="greeter",status="INTERNAL"}[30s])) / sum(increase(tulle_server_calls_total{destination="greeter"}[30s]))`))
		if err != nil {
			return err
		}
		if len(r.Data.Result) != 1 {
			return fmt.Errorf("the share that fails: %v", r)
		}
		text, _ := r.Data.Result[0].Value[1].(string)
		var share float64
		if _, err := fmt.Sscan(text, &share); err != nil || share < 0.08 || share > 0.12 {
			return fmt.Errorf("a share of %s fails, want a tenth", text)
		}
		return nil
	})
}
