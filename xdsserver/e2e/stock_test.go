package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh"
)

// A stock is a program with no line of this project, and what it is started from.
type stock struct{ program, bootstrap string }

// stock builds the program in a folder and prepares it as an operator would: files
// from `identity fetch`, and what `bootstrap` prints.
func (s *server) stock(t *testing.T, folder, service string) stock {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, folder)
	if out, err := exec.Command("go", "build", "-o", program, "./"+folder).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	deps, err := exec.Command("go", "list", "-deps", "./"+folder).Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(deps)) {
		if dep = strings.TrimSpace(dep); strings.Contains(dep, "tulle") && !strings.HasSuffix(dep, "/"+folder) {
			t.Fatalf("%s imports %s", folder, dep)
		}
	}

	files := filepath.Join(dir, "identity")
	fetch := start(t, "xdsserver", []string{"identity", "fetch", "--service", service, "--out", files, "--server", s.target(), "--once"})
	if code := fetch.wait(); code != 0 {
		t.Fatalf("identity fetch: exit code %d: %s", code, fetch.stderr.String())
	}
	bootstrap := start(t, "xdsserver", []string{"bootstrap", "--admin", "http://" + s.admin, "--service", service, "--identity-dir", files})
	var file json.RawMessage
	if err := json.NewDecoder(bootstrap.stdout).Decode(&file); err != nil {
		t.Fatalf("%v: %s", err, bootstrap.stderr.String())
	}
	path := filepath.Join(dir, "bootstrap.json")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return stock{program: program, bootstrap: path}
}

func (s stock) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.program, args...)
	cmd.Env = append(os.Environ(), "GRPC_XDS_BOOTSTRAP="+s.bootstrap)
	cmd.Stderr = os.Stderr
	return cmd
}

// call makes n calls to a target and counts the answers by their first word.
func (s stock) call(t *testing.T, target string, n int, headers ...string) map[string]int {
	t.Helper()
	out, err := s.command(append([]string{target, whereMethod, fmt.Sprint(n)}, headers...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var answers map[string]int
	if err := json.Unmarshal(out, &answers); err != nil {
		t.Fatal(err)
	}
	byWord := map[string]int{}
	for answer, count := range answers {
		word, _, _ := strings.Cut(answer, " ")
		byWord[word] += count
	}
	return byWord
}

// A client with no line of this project, started from what `xdsserver bootstrap`
// prints, reaches the services over mutual TLS and follows weights, header matches
// and faults.
func TestStockGRPCClientReachesTheServices(t *testing.T) {
	s := startServer(t)
	s.echo(t, "voting", "v1")
	s.echo(t, "voting", "v1")
	s.echo(t, "voting", "v2")
	s.awaitEndpoints(t, "voting", 3)
	client := s.stock(t, "stockclient", "shopfront")

	if got := client.call(t, "xds:///voting", 300); got["v1"]+got["v2"] != 300 || got["v2"] == 0 {
		t.Errorf("without configuration: %v, want all of 300 calls answered by both versions", got)
	}
	s.apply(t, canary)
	if got := client.call(t, "xds:///voting", 2000); got["v2"] < 140 || got["v2"] > 260 || got["v1"]+got["v2"] != 2000 {
		t.Errorf("90/10 split: %v, want about 200 of 2000 at v2", got)
	}
	if got := client.call(t, "xds:///voting", 100, "x-tester", "yes"); got["v2"] != 100 {
		t.Errorf("header match: %v, want 100 at v2", got)
	}
	if got := client.call(t, "xds:///voting", 100, "x-break", "yes"); got["ResourceExhausted"] != 100 {
		t.Errorf("fault: %v, want 100 RESOURCE_EXHAUSTED", got)
	}
}

// onlyShopfront lets one service call another, and nobody else.
func onlyShopfront(service string) string {
	return fmt.Sprintf("\napiVersion: tulle/v1\nkind: AccessPolicy\nmetadata: {name: %s}\nspec: {allow: [{from: [shopfront], methods: [%s]}]}\n",
		service, whereMethod)
}

// A stock client and a stock server are in the mesh under the same policy as our
// own: each of the four pairs speaks mutual TLS, and each server refuses whom the
// policy does not name.
func TestStockClientAndServerUnderOnePolicy(t *testing.T) {
	s := startServer(t)
	address := freePort(t)
	s.apply(t, fmt.Sprintf("apiVersion: tulle/v1\nkind: Service\nmetadata: {name: legacy}\nspec: {endpoints: [{instance: one, version: v9, address: %q}]}\n", address)+
		"---"+onlyShopfront("legacy")+"---"+onlyShopfront("voting"))
	s.echo(t, "voting", "v1")
	s.awaitEndpoints(t, "voting", 1)

	server := s.stock(t, "stockserver", "legacy").command(address, whereMethod, "v9 "+address)
	stdout, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	var serving string
	if _, err := fmt.Fscanln(stdout, &serving); err != nil || serving != "serving" {
		t.Fatalf("the stock server says %q, %v", serving, err)
	}

	shopfront, stranger := s.stock(t, "stockclient", "shopfront"), s.stock(t, "stockclient", "stranger")
	for _, target := range []string{"voting", "legacy"} {
		want := map[string]string{"voting": "v1", "legacy": "v9"}[target]
		if got := shopfront.call(t, "xds:///"+target, 20); got[want] != 20 {
			t.Errorf("stock client, allowed, to %s: %v, want 20 answers of %s", target, got, want)
		}
		if got := stranger.call(t, "xds:///"+target, 20); got[codes.PermissionDenied.String()] != 20 {
			t.Errorf("stock client, not allowed, to %s: %v, want 20 PermissionDenied", target, got)
		}
		ours := func(service string) error {
			m := s.joinAs(t, mesh.Config{Service: service})
			conn := dial(t, m, "mesh:///"+target)
			_, _, err := where(t.Context(), conn)
			return err
		}
		if err := ours("shopfront"); err != nil {
			t.Errorf("our client, allowed, to %s: %v", target, err)
		}
		if err := ours("stranger"); status.Code(err) != codes.PermissionDenied {
			t.Errorf("our client, not allowed, to %s: %v, want PERMISSION_DENIED", target, err)
		}
	}

	// A change of policy reaches both servers.
	s.apply(t, strings.ReplaceAll("---"+onlyShopfront("legacy")+"---"+onlyShopfront("voting"), "[shopfront]", "[stranger]"))
	for _, target := range []string{"voting", "legacy"} {
		eventually(t, 15*time.Second, "the stranger may call "+target, func(context.Context) bool {
			return stranger.call(t, "xds:///"+target, 1)[codes.PermissionDenied.String()] == 0
		})
		if got := shopfront.call(t, "xds:///"+target, 5); got[codes.PermissionDenied.String()] != 5 {
			t.Errorf("stock client, no longer allowed, to %s: %v", target, got)
		}
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
