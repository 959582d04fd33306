package consultest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	httpPort, httpsPort, grpcPort = 8500, 8501, 8502
	// readyWithin bounds a start: an election takes some seconds on a busy machine.
	readyWithin = 60 * time.Second
)

// An Agent is one Consul server. It ends with the test.
type Agent struct {
	// IP is the loopback address that is its own.
	IP string
	// Token is what Client uses; ACL bootstrapping sets it.
	Token string

	binary, dir string
	config      map[string]any
	cmd         *exec.Cmd
	done        chan struct{}
}

// An Option changes the configuration of an agent, as Consul's documentation has it.
type Option func(config map[string]any)

// With sets one field: With("limits", map[string]any{"http_max_conns_per_client": 1000}).
func With(field string, value any) Option { return func(c map[string]any) { c[field] = value } }

// ACLs turns on ACLs that deny by default; the token is the one that may do anything.
func ACLs(token string) Option {
	return With("acl", map[string]any{
		"enabled": true, "default_policy": "deny", "enable_token_persistence": true,
		"tokens": map[string]any{"initial_management": token, "agent": token},
	})
}

// HTTPS has the agent serve its HTTP API over TLS, too, at [Agent.Secure], to those who
// prove that ca, a file of certificates, knows them.
func HTTPS(ca, cert, key string) Option {
	return func(c map[string]any) {
		c["ports"].(map[string]any)["https"] = httpsPort //nolint:forcetypeassert // Cluster made it
		c["tls"] = map[string]any{"https": map[string]any{"ca_file": ca, "cert_file": cert, "key_file": key, "verify_incoming": true}}
	}
}

// Socket has the agent serve its HTTP API at the path of a socket, too.
func Socket(path string) Option {
	return func(c map[string]any) {
		c["addresses"] = map[string]any{"http": fmt.Sprintf("%v unix://%s", c["client_addr"], path)}
	}
}

// Start starts one server and waits until it leads.
func Start(tb testing.TB, options ...Option) *Agent {
	tb.Helper()
	return Cluster(tb, 1, options...)[0]
}

// Cluster starts servers that are one datacenter, and waits until they have a leader.
func Cluster(tb testing.TB, n int, options ...Option) []*Agent {
	tb.Helper()
	binary := Binary(tb)
	agents := make([]*Agent, n)
	join := make([]string, n)
	for i := range agents {
		ip := loopback()
		agents[i] = &Agent{IP: ip, binary: binary, dir: tb.TempDir()}
		join[i] = ip
	}
	for i, a := range agents {
		a.config = map[string]any{
			"node_name": fmt.Sprintf("server-%d", i+1), "data_dir": filepath.Join(a.dir, "data"), "server": true,
			"bootstrap_expect": n, "bind_addr": a.IP, "client_addr": a.IP, "retry_join": join, "retry_interval": "500ms",
			"log_level": "info", "disable_update_check": true, "leave_on_terminate": false, "skip_leave_on_interrupt": true,
			"ports":       map[string]any{"http": httpPort, "grpc": grpcPort, "grpc_tls": -1, "dns": -1, "serf_wan": -1},
			"performance": map[string]any{"raft_multiplier": 1, "leave_drain_time": "0s"},
			"connect":     map[string]any{"enabled": true},
			"telemetry":   map[string]any{"disable_hostname": true},
			"limits":      map[string]any{"http_max_conns_per_client": 1000},
		}
		for _, option := range options {
			option(a.config)
		}
		if acl, ok := a.config["acl"].(map[string]any); ok {
			a.Token, _ = acl["tokens"].(map[string]any)["initial_management"].(string)
		}
		a.start(tb)
		tb.Cleanup(func() {
			a.end(syscall.SIGKILL)
			if tb.Failed() {
				tb.Logf("the end of the log of %s:\n%s", a.config["node_name"], a.tail())
			}
		})
	}
	agents[0].Ready(tb)
	return agents
}

// loopback draws an address of this machine that nobody else is likely to use, so that
// every agent has Consul's own ports.
func loopback() string {
	for {
		ip := fmt.Sprintf("127.%d.%d.%d", 10+rand.IntN(200), rand.IntN(256), 1+rand.IntN(254))
		lis, err := net.Listen("tcp", fmt.Sprintf("%s:%d", ip, httpPort))
		if err != nil {
			continue
		}
		_ = lis.Close()
		return ip
	}
}

func (a *Agent) start(tb testing.TB) {
	tb.Helper()
	config := maps.Clone(a.config)
	data, err := json.Marshal(config)
	if err != nil {
		tb.Fatal(err)
	}
	file := filepath.Join(a.dir, "config.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		tb.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(a.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	defer log.Close()
	a.cmd = exec.CommandContext(context.Background(), a.binary, "agent", "-config-file", file) //nolint:gosec // it is Consul
	a.cmd.Stdout, a.cmd.Stderr = log, log
	a.cmd.SysProcAttr = dieWithParent()
	if err := a.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	done, cmd := make(chan struct{}), a.cmd
	a.done = done
	go func() { // ends with the process, which end waits for
		defer close(done)
		_ = cmd.Wait()
	}()
}

func (a *Agent) end(signal os.Signal) {
	if a.done == nil {
		return
	}
	_ = a.cmd.Process.Signal(signal)
	select {
	case <-a.done:
	case <-time.After(20 * time.Second):
		_ = a.cmd.Process.Kill()
		<-a.done
	}
	a.done = nil
}

// Kill ends the agent as a crash does.
func (a *Agent) Kill(tb testing.TB) {
	tb.Helper()
	a.end(syscall.SIGKILL)
}

// Stop ends the agent as an operator does.
func (a *Agent) Stop(tb testing.TB) {
	tb.Helper()
	a.end(syscall.SIGTERM)
}

// Restart starts the agent again, on what it has on disk. It does not wait; see Ready.
func (a *Agent) Restart(tb testing.TB) {
	tb.Helper()
	a.end(syscall.SIGTERM)
	a.start(tb)
}

// Wipe removes what an agent that does not run has on disk.
func (a *Agent) Wipe(tb testing.TB) {
	tb.Helper()
	if err := os.RemoveAll(filepath.Join(a.dir, "data")); err != nil {
		tb.Fatal(err)
	}
}

// Address is the agent's HTTP API, host:port.
func (a *Agent) Address() string { return fmt.Sprintf("%s:%d", a.IP, httpPort) }

// Secure is the same over TLS, where [HTTPS] asked for it.
func (a *Agent) Secure() string { return fmt.Sprintf("%s:%d", a.IP, httpsPort) }

// GRPC is its gRPC API, host:port.
func (a *Agent) GRPC() string { return fmt.Sprintf("%s:%d", a.IP, grpcPort) }

// Client returns Consul's own client, which may do anything.
func (a *Agent) Client(tb testing.TB) *api.Client {
	tb.Helper()
	c, err := api.NewClient(&api.Config{Address: a.Address(), Token: a.Token})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// Ready waits until the agent takes writes.
func (a *Agent) Ready(tb testing.TB) {
	tb.Helper()
	client := a.Client(tb)
	var err error
	for deadline := time.Now().Add(readyWithin); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		// A write proves a leader; a service in the catalog that the agent can speak to it.
		if _, err = client.KV().Put(&api.KVPair{Key: "consultest/ready"}, nil); err != nil {
			continue
		}
		if _, err = client.Agent().Self(); err == nil {
			return
		}
	}
	tb.Fatalf("consul at %s is not ready after %v: %v\n%s", a.Address(), readyWithin, err, a.tail())
}

// Leads reports whether the agent is the leader.
func (a *Agent) Leads(tb testing.TB) bool {
	tb.Helper()
	leader, err := a.Client(tb).Status().Leader()
	return err == nil && strings.HasPrefix(leader, a.IP+":")
}

func (a *Agent) tail() string {
	data, err := os.ReadFile(filepath.Join(a.dir, "log"))
	if err != nil {
		return err.Error()
	}
	const most = 4000
	return string(data[max(0, len(data)-most):])
}
