// Command consul runs the tour over Consul: an agent in development mode, two
// xdsservers that share what is in it, and the voting application.
//
//	go run ./examples/consul
//	go run ./examples/consul --requests 1000 -o json
//
// It needs Consul's binary, in the PATH or as bin/consul, which `make bin/consul` builds;
// where an agent answers at CONSUL_HTTP_ADDR, that one is used. Arguments are the tour's.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// address is where an agent of development mode listens.
	address = "127.0.0.1:8500"
	// readyWithin bounds the agent's start.
	readyWithin = 30 * time.Second
	// stopWithin bounds the time that a process has to end.
	stopWithin = 20 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "consul:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if at := os.Getenv("CONSUL_HTTP_ADDR"); at != "" {
		return tour(ctx, at, args)
	}
	if answers(ctx) {
		return fmt.Errorf("something answers at %s already: stop it, or use it with CONSUL_HTTP_ADDR=%s", address, address)
	}
	binary, err := find()
	if err != nil {
		return err
	}
	log, err := os.CreateTemp("", "tulle-consul-*.log")
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintf(os.Stderr, "starting a Consul agent in development mode, what it says is in %s ...\n", log.Name())
	agent := command(ctx, binary, "agent", "-dev", "-bind", "127.0.0.1")
	agent.Stdout, agent.Stderr = log, log
	if err := agent.Start(); err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	ended := make(chan struct{})
	go func() { // waited for below
		defer close(ended)
		_ = agent.Wait() // what it has to say it has said
	}()
	err = ready(ctx, ended)
	if err == nil {
		err = tour(ctx, address, args)
	}
	_ = agent.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(stopWithin):
		_ = agent.Process.Kill()
		<-ended
	}
	return err
}

// find returns Consul's binary.
func find() (string, error) {
	if path, err := exec.LookPath("consul"); err == nil {
		return path, nil
	}
	path, err := filepath.Abs(filepath.Join("bin", "consul"))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", errors.New("no consul in the PATH and none at bin/consul: install it (developer.hashicorp.com/consul/install), or run 'make bin/consul' here")
	}
	return path, nil
}

// command is a program that ends in order when ctx does.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), name, args...) //nolint:gosec // it is Consul, or the go command
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// A group of its own: Ctrl-C reaches this process alone, which stops the others in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// tour runs the tour over an agent.
func tour(ctx context.Context, at string, args []string) error {
	cmd := command(ctx, "go", append([]string{"run", "./examples/demo", "--consul", at}, args...)...)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the tour: %w", err)
	}
	// "go run" hands no signal on: its whole group gets it.
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) })
	defer stop()
	if err := cmd.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("the tour: %w", err)
	}
	return nil
}

// ready waits until the agent answers.
func ready(ctx context.Context, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !answers(ctx) {
		select {
		case <-ended:
			return errors.New("the agent ended by itself")
		case <-ctx.Done():
			return fmt.Errorf("the agent does not answer at %s after %v", address, readyWithin)
		case <-tick.C:
		}
	}
	return nil
}

// answers reports whether an agent has a leader.
func answers(ctx context.Context) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v1/status/leader", nil)
	if err != nil {
		return false
	}
	client := &http.Client{Timeout: time.Second}
	resp, err := client.Do(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	text := make([]byte, len(`""`)+1)
	n, _ := resp.Body.Read(text)
	return resp.StatusCode == http.StatusOK && n > len(`""`)
}
