package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A client with no line of this project, started from what `xdsserver bootstrap`
// prints, reaches the services over TCP and follows weights, header matches and
// faults.
func TestStockGRPCClientReachesTheServices(t *testing.T) {
	s := startServer(t)
	s.echo(t, "voting", "v1")
	s.echo(t, "voting", "v1")
	s.echo(t, "voting", "v2")
	s.awaitEndpoints(t, "voting", 3)

	dir := t.TempDir()
	client := filepath.Join(dir, "stockclient")
	if out, err := exec.Command("go", "build", "-o", client, "./stockclient").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	deps, err := exec.Command("go", "list", "-deps", "./stockclient").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(deps)) {
		if dep = strings.TrimSpace(dep); strings.Contains(dep, "tulle") && !strings.HasSuffix(dep, "/stockclient") {
			t.Fatalf("the stock client imports %s", dep)
		}
	}

	bootstrap := start(t, "xdsserver", []string{"bootstrap", "--admin", "http://" + s.admin, "--service", "stock"})
	var file json.RawMessage
	if err := json.NewDecoder(bootstrap.stdout).Decode(&file); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "bootstrap.json")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	call := func(n string, headers ...string) map[string]int {
		t.Helper()
		cmd := exec.Command(client, append([]string{"xds:///voting", whereMethod, n}, headers...)...)
		cmd.Env = append(os.Environ(), "GRPC_XDS_BOOTSTRAP="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var answers, byVersion map[string]int
		if err := json.Unmarshal(out, &answers); err != nil {
			t.Fatal(err)
		}
		byVersion = map[string]int{}
		for answer, count := range answers {
			version, _, _ := strings.Cut(answer, " ")
			byVersion[version] += count
		}
		return byVersion
	}

	if got := call("300"); got["v1"]+got["v2"] != 300 || got["v2"] == 0 {
		t.Errorf("without configuration: %v, want all of 300 calls answered by both versions", got)
	}
	s.apply(t, canary)
	if got := call("2000"); got["v2"] < 140 || got["v2"] > 260 || got["v1"]+got["v2"] != 2000 {
		t.Errorf("90/10 split: %v, want about 200 of 2000 at v2", got)
	}
	if got := call("100", "x-tester", "yes"); got["v2"] != 100 {
		t.Errorf("header match: %v, want 100 at v2", got)
	}
	if got := call("100", "x-break", "yes"); got["ResourceExhausted"] != 100 {
		t.Errorf("fault: %v, want 100 RESOURCE_EXHAUSTED", got)
	}
}

// canary is the configuration of the routing tests.
const canary = `
apiVersion: tulle/v1
kind: Service
metadata: {name: voting}
spec: {timeout: 5s}
---
apiVersion: tulle/v1
kind: GRPCRoute
metadata: {name: voting-canary}
spec:
  parentRefs: [{kind: Service, name: voting}]
  rules:
    - matches: [{headers: [{name: x-tester, value: "yes"}]}]
      backendRefs: [{name: voting, version: v2}]
    - matches: [{headers: [{name: x-break, value: "yes"}]}]
      fault: {abort: {code: resource_exhausted, percent: 100}}
      backendRefs: [{name: voting}]
    - backendRefs:
        - {name: voting, version: v1, weight: 90}
        - {name: voting, version: v2, weight: 10}
`
