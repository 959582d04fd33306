package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// A badFile would send calls to v2, were it not for what is wrong with it.
type badFile struct {
	name string
	text string
	says []string // beside the file's name
}

func badFiles() []badFile {
	good := onlyVersion("v2")
	with := func(old, replacement string) string { return strings.Replace(good, old, replacement, 1) }
	_, secondRoute, _ := strings.Cut(good, "---\n")
	return []badFile{
		{"an unknown field", with("backendRefs", "backendRefz"), []string{":12:7", "unknown field", "did you mean backendRefs?"}},
		{"a wrong type", with("version: v2", "weight: [1]"), []string{":12:44", "weight", "not a list"}},
		{"a route that is there twice", onlyVersion("v1") + "---\n" + secondRoute, []string{"written twice", "remove one of them"}},
		{"an unknown backend", with("name: voting, version", "name: votng, version"), []string{":6", "no service votng is known", "did you mean voting?"}},
		{"weights that sum to zero", with("version: v2", "version: v2, weight: 0"), []string{":6", "sum to zero", "above zero"}},
		{"a match that every client refuses", with("- backendRefs", `- matches: [{method: {type: RegularExpression, method: "(("}}]
      backendRefs`), []string{":6", "no RE2 expression"}},
		{"an alias bomb", aliasBomb(), []string{":1:", "aliases", "write the value out"}},
		{"half a file", good[:len(good)-len("v2}]\n")], []string{":12:", "is no YAML"}},
		{"a file of something else", "\x7fELF\x02\x01\x01\x00" + good, []string{":1:1", "control character"}},
		{"50 MB", good + strings.Repeat("# 50 MB of nothing\n", 50<<20/19), []string{"50.0 MiB", "split it"}},
	}
}

// aliasBomb is 20 lines that stand for 10^20 words.
func aliasBomb() string {
	var b strings.Builder
	word := "x"
	for name := 'a'; name < 'a'+20; name++ {
		fmt.Fprintf(&b, "%c: &%c [%s]\n", name, name, strings.Repeat(word+", ", 9)+word)
		word = "*" + string(name)
	}
	return b.String()
}

// Whatever is saved over a good file, no call fails, calls go where the last good
// form sends them, and both check and the log name the file and what to do.
func TestBadFileChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	save := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	save(onlyVersion("v1"))
	s := startServer(t, "--config", path)
	s.echo(t, "voting", "v1")
	s.echo(t, "voting", "v2")
	s.awaitEndpoints(t, "voting", 2)
	conn := dial(t, s.join(t, mesh.Config{}), "mesh:///voting")
	callsGo := func(to string) {
		t.Helper()
		for range 20 {
			if version, _, err := where(t.Context(), conn, grpc.WaitForReady(true)); err != nil || version != to {
				t.Fatalf("calls go to %q, %v, want %s", version, err, to)
			}
		}
	}
	callsGo("v1")

	load := startLoad(t, conn, 200)
	for _, bad := range badFiles() {
		t.Run(bad.name, func(t *testing.T) {
			save(bad.text)
			says := append([]string{path}, bad.says...)
			eventually(t, 15*time.Second, "check and the log say "+strings.Join(says, ", "), func(context.Context) bool {
				code, out := s.run(t, "check")
				return code == 1 && containsAll(out, says...) && containsAll(s.stderr.String(), says...)
			})
			callsGo("v1")
		})
	}
	t.Run("no file at all", func(t *testing.T) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		eventually(t, 15*time.Second, "check says that the file is gone", func(context.Context) bool {
			code, out := s.run(t, "check")
			return code == 1 && containsAll(out, "× every source", path, "no such file")
		})
		callsGo("v1")
	})

	save(onlyVersion("v2"))
	eventually(t, 15*time.Second, "calls go where the good file says", func(ctx context.Context) bool {
		version, _, err := where(ctx, conn)
		return err == nil && version == "v2"
	})
	load.mustNotHaveFailed(t)
	if code, out := s.run(t, "check"); code != 0 {
		t.Errorf("check after the good file: exit code %d\n%s", code, out)
	}
}

// A server that finds a bad file when it starts serves what is good, and says
// what is not.
func TestServerStartsWithABadFile(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"bad.yaml": aliasBomb(), "good.yaml": onlyVersion("v1")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := startServer(t, "--config", dir)
	if code, out := s.run(t, "check"); code != 1 || !containsAll(out, filepath.Join(dir, "bad.yaml")+":1:", "aliases") {
		t.Errorf("check: exit code %d, want 1 and the bad file's name:\n%s", code, out)
	}
	if _, out := s.run(t, "get", "service", "voting"); !containsAll(out, "good", filepath.Join(dir, "good.yaml")) {
		t.Errorf("the good file is not served:\n%s", out)
	}
}

// What is too large for the admin API is refused, and the next request is served.
func TestAdminRequestOf50MBIsRefused(t *testing.T) {
	s := startServer(t)
	large := string(bytes.Repeat([]byte("#"), 50<<20))
	_, err := s.api.Apply(t.Context(), &adminv1.ApplyRequest{Manifests: []*adminv1.Manifest{{Yaml: large}}})
	if err == nil || !containsAll(err.Error(), "resource_exhausted", "16777216") {
		t.Errorf("got %v, want RESOURCE_EXHAUSTED and the limit", err)
	}
	s.apply(t, onlyVersion("v1"))
}

// services are documents of services service-0 and up, to follow others.
func services(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "---\napiVersion: tulle/v1\nkind: Service\nmetadata: {name: service-%d}\n", i)
	}
	return b.String()
}
