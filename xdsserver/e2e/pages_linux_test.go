package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// web is where the dashboard's source and its tests are.
const web = "../dashboard/web"

// needBrowser says whether there is a browser, and ends the test in CI where there is none.
func needBrowser(t *testing.T) bool {
	t.Helper()
	for _, path := range []string{"/usr/bin/chromium", web + "/node_modules/playwright-core"} {
		if _, err := os.Stat(path); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%v: .ci/machine installs it", err)
			}
			return false
		}
	}
	return true
}

// watchPages keeps a dashboard open in a browser. What it returns ends that, and says what
// the pages held; memory that grows fails the test.
func watchPages(t *testing.T, s *server, service string) func() string {
	t.Helper()
	if !needBrowser(t) {
		return func() string { return "no browser to open the dashboard in" }
	}
	answer, err := s.api.CreateLogin(t.Context(), &adminv1.CreateLoginRequest{})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", web+"/test/heap.mjs", answer.GetUrl(), service)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return func() string {
		t.Helper()
		stdin.Close()
		var said struct {
			Bytes  []int
			Errors []string
		}
		if err := json.NewDecoder(stdout).Decode(&said); err != nil {
			t.Fatalf("the pages said nothing: %v", err)
		}
		if len(said.Errors) > 0 || len(said.Bytes) == 0 {
			t.Errorf("in the pages: %d samples, errors %v", len(said.Bytes), said.Errors)
			return ""
		}
		// Each page is opened in turn: like is compared with like, after the first round.
		const pages = 3
		if n := len(said.Bytes); n >= 4*pages {
			first, last := slices.Max(said.Bytes[pages:2*pages]), slices.Max(said.Bytes[n-pages:])
			if last > first+first/4+4<<20 {
				t.Errorf("the pages held %d bytes at first and %d in the end", first, last)
			}
		}
		return fmt.Sprintf("pages held %.1f to %.1f MB, %d samples", float64(slices.Min(said.Bytes))/1e6, float64(slices.Max(said.Bytes))/1e6, len(said.Bytes))
	}
}
