package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The tour runs over a real agent, ends by itself, and only what fails on purpose fails.
func TestTheTourRunsOverConsul(t *testing.T) {
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "bin", "consul")); err != nil && os.Getenv("CI") == "" {
		t.Skipf("no agent to run over: make bin/consul (%v)", err)
	}
	if lis, err := net.Listen("tcp", address); err != nil && os.Getenv("CI") != "" {
		t.Fatalf("somebody uses the port of an agent in development mode: %v", err)
	} else if err != nil {
		t.Skipf("somebody uses the port of an agent in development mode: %v", err)
	} else {
		_ = lis.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "run", "./examples/consul", "--requests", "400", "-o", "json")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CONSUL_HTTP_ADDR=", "PATH="+filepath.Join(root, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, stderr.String())
	}
	var result struct {
		OK     int `json:"ok"`
		Failed int `json:"failed"`
		Calls  []struct {
			Source string `json:"source"`
			Method string `json:"method"`
			Count  int    `json:"count"`
			OK     int    `json:"ok"`
		} `json:"calls"`
	}
	if err := json.Unmarshal(out, &result); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	t.Logf("%d ok, %d failed", result.OK, result.Failed)
	if result.OK+result.Failed != 400 {
		t.Errorf("%d ok, %d failed of 400", result.OK, result.Failed)
	}
	for _, c := range result.Calls {
		if c.Method != "VoteDoughnut" && c.OK != c.Count {
			t.Errorf("%d of %d calls of %s from %s failed", c.Count-c.OK, c.Count, c.Method, c.Source)
		}
	}
}
