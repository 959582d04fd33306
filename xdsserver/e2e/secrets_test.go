package e2e

import (
	"bufio"
	"context"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// A haystack is everything that somebody may read, by where it was found.
type haystack struct {
	mu sync.Mutex
	of map[string]string
}

func (h *haystack) add(where, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.of[where] += text
}

// needles returns where each secret is found.
func (h *haystack) needles(secrets map[string]string) (found []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for what, secret := range secrets {
		for where, text := range h.of {
			if strings.Contains(text, secret) {
				found = append(found, what+" in "+where)
			}
		}
	}
	return found
}

// browse reads streams of the dashboard for a while, as a page with a session does, and
// returns its cookie.
func browse(t *testing.T, h *haystack, login string, paths ...string) string {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	answer, err := client.Get(login)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	base, err := url.Parse(login)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	var wait sync.WaitGroup
	for _, path := range paths {
		wait.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.Scheme+"://"+base.Host+path, nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Tulle-Request", "1")
			answer, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", path, answer.Status)
			}
			var text strings.Builder
			_, _ = io.Copy(&text, bufio.NewReader(answer.Body)) // until ctx ends it
			h.add("the dashboard's "+path, text.String())
		})
	}
	wait.Wait()
	client.CloseIdleConnections()
	for _, c := range jar.Cookies(base) {
		if c.Name == "tulle_session" {
			return c.Value
		}
	}
	t.Fatal("the login made no session")
	return ""
}

// Secrets of calls, of joining, of the authority and of sessions are planted, everything
// that can be read is, and none of them is in any of it.
func TestNoSecretIsShownAnywhere(t *testing.T) {
	prometheus := freePort(t)
	s := startServer(t, "--tap", "payload", "--metrics-listen", prometheus)
	s.apply(t, "apiVersion: tulle/v1\nkind: Mesh\nmetadata: {name: default}\nspec: {tap: {redact: [google.protobuf.StringValue.value, x-private]}}\n")
	secrets := map[string]string{
		"the bearer token": "CANARY-BEARER-1f8a", "the password": "CANARY-PASSWORD-77c2", "the cookie": "CANARY-COOKIE-0b3e",
		"the configured metadata": "CANARY-PRIVATE-52d1", "the message": "CANARY-MESSAGE-9e40",
	}
	code, out := s.run(t, "token", "create", "--service", "voting")
	if code != 0 {
		t.Fatal(out)
	}
	var token string
	for l := range strings.Lines(out) {
		if strings.HasPrefix(l, "tulle1.") {
			token = strings.TrimSpace(l)
		}
	}
	secrets["the join token"] = strings.Split(strings.Split(token, "@")[0], ".")[2]
	file := filepath.Join(t.TempDir(), "token")
	writeFile(t, file, []byte(token+"\n"))
	voting := start(t, "echo", nil, "TULLE_SERVICE=voting", "TULLE_TOKEN_FILE="+file, "TULLE_STATE_DIR="+t.TempDir())
	voting.line(t)
	s.awaitEndpoints(t, "voting", 1)
	if _, err := s.api.SetLog(t.Context(), &adminv1.SetLogRequest{Service: "voting", Level: "debug", Access: 1, Duration: durationpb.New(time.Minute)}); err != nil {
		t.Fatal(err)
	}

	m, err := mesh.Join(t.Context(), mesh.Config{Service: "web", Server: s.target(), StateDir: mesh.NoState})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	conn := dial(t, m, "mesh:///voting")
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+secrets["the bearer token"],
		"x-password", secrets["the password"], "cookie", "session="+secrets["the cookie"], "x-private", secrets["the configured metadata"], "x-open", "seen")
	if err := conn.Invoke(ctx, whereMethod, wrapperspb.String(""), new(wrapperspb.StringValue), grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	calls, stop := context.WithCancel(ctx)
	message := secrets["the message"]
	var wait sync.WaitGroup
	wait.Go(func() {
		for calls.Err() == nil {
			_ = conn.Invoke(calls, whereMethod, wrapperspb.String(message), new(wrapperspb.StringValue), grpc.WaitForReady(true))
			pass(t, 20*time.Millisecond)
		}
	})

	h := &haystack{of: map[string]string{}}
	login, err := s.api.CreateLogin(t.Context(), &adminv1.CreateLoginRequest{May: []string{"view", "apply", "tap", "payload"}})
	if err != nil {
		t.Fatal(err)
	}
	address, err := url.Parse(login.GetUrl())
	if err != nil {
		t.Fatal(err)
	}
	secrets["the login"] = address.Query().Get("token")
	wait.Go(func() {
		for _, service := range []string{"web", "voting"} {
			_, out := s.run(t, "tap", service, "--payload", "--for", "4s", "-o", "json")
			h.add("tap "+service, out)
		}
	})
	secrets["the session"] = browse(t, h, login.GetUrl(), "/api/events?service=voting", "/api/tap?service=web&payload=1&duration=5s", "/api/session")
	for _, command := range [][]string{
		{"stat"},
		{"edges"},
		{"routes", "voting"},
		{"top", "--once"},
		{"check"},
		{"identity"},
		{"token", "list"},
		{"ca"},
		{"get"},
		{"endpoints"},
		{"history"},
		{"log"},
		{"explain", "voting", "--method", whereMethod},
		{"authz", "voting"},
	} {
		_, out := s.run(t, append(command, "-o", "json")...)
		h.add(strings.Join(command, " "), out)
	}
	metrics, err := http.Get("http://" + prometheus + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(metrics.Body)
	metrics.Body.Close()
	if err != nil || !strings.Contains(string(page), "tulle_") {
		t.Errorf("no metrics: %v: %.300s", err, page)
	}
	h.add("the metrics", string(page))
	pass(t, 3*time.Second)
	stop()
	wait.Wait()
	s.process.stop(t)
	h.add("xdsserver's log", s.stderr.String())
	h.add("voting's log", voting.stderr.String())
	// The database has the token's hash; the authority's folder is where keys must be.
	if err := filepath.WalkDir(s.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(s.data, path)
		if strings.HasPrefix(name, "ca"+string(filepath.Separator)) {
			if strings.Contains(string(b), "PRIVATE KEY") {
				secrets["the key of "+name] = strings.Split(string(b), "\n")[1]
			}
			return err
		}
		h.add("DATA/"+name, string(b))
		return err
	}); err != nil {
		t.Fatal(err)
	}

	if tap := h.of["tap web"]; !strings.Contains(tap, "x-open") || !strings.Contains(tap, "redacted") || !strings.Contains(tap, "StringValue") {
		t.Errorf("the tap showed no call with its metadata and message:\n%.2000s", tap)
	}
	if len(secrets) < 9 {
		t.Errorf("%d secrets are looked for, want those of the authority's keys too", len(secrets))
	}
	for _, leak := range h.needles(secrets) {
		t.Error("found ", leak)
	}
	t.Logf("%d secrets, %d places", len(secrets), len(h.of))
	h.add("a place", "x"+secrets["the session"]+"x")
	if n := len(h.needles(secrets)); n != 1 {
		t.Errorf("one that is planted is found %d times", n)
	}
}
