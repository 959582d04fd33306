package main

import (
	"bufio"
	"os"
	"os/exec"
	"testing"
)

// web is where the dashboard's source and its tests are.
const web = "../../xdsserver/dashboard/web"

// What a newcomer sees, in a real browser: every page is live within ten seconds, every
// edge has its lock, a split that is applied moves traffic, a killed instance turns.
func TestTheDashboardShowsTheDemo(t *testing.T) {
	for _, path := range []string{"/usr/bin/chromium", web + "/node_modules/playwright-core"} {
		if _, err := os.Stat(path); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%v: .ci/machine installs it", err)
			}
			t.Skip("there is no browser: .ci/machine installs it")
		}
	}
	v := visit(t)
	cmd := exec.CommandContext(t.Context(), "node", web+"/test/tour.mjs", "demo")
	cmd.Env = append(os.Environ(), "TULLE_DASHBOARD_URL="+v.dashboard, "TULLE_GRID_URL="+v.url)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		t.Log(lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}
