package telemetry

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
)

// busy fills a server with all that it can know, over more than one five minutes.
func busy(t *testing.T, s *Server) {
	t.Helper()
	synctest.Wait()
	time.Sleep(time.Millisecond)
	client, server := newProcess("web", "web-1"), newProcess("voting", "voting-1")
	for i := range 15 {
		client.call("voting", fmt.Sprint("/v/", i%3), "OK", time.Duration(i+1)*time.Millisecond)
		client.of("tulle.client.retries", "tulle.destination", "voting").count(1)
		client.of("tulle.client.endpoint.latency", "tulle.destination", "voting", "tulle.cluster", "voting",
			"tulle.endpoint", "10.0.0.1:80", "tulle.guess", "false").set(0.004)
		server.serve(idOf("web"), fmt.Sprint("/v/", i%3), "OK", time.Duration(i+1)*time.Millisecond)
		server.of("tulle.server.access", "tulle.source", idOf("web"), "grpc.method", "/v/0", "tulle.verdict", "would_deny", "tulle.policy", "p").count(2)
		server.of("tulle.server.limited").count(1)
		server.of("tulle.connections", "tulle.side", "server").set(float64(i))
		send(t, s, "web", client.message())
		send(t, s, "voting", server.message())
		time.Sleep(slotTime)
		if i%5 == 4 {
			s.save(false)
			time.Sleep(4 * time.Minute)
		}
	}
}

func TestARestartForgetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir)
		busy(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		again := open(t, dir)
		now := time.Now()
		if diff := cmp.Diff(s.Graph(Window, now), again.Graph(Window, now), protocmp.Transform()); diff != "" {
			t.Errorf("the graph (-before +after):\n%s", diff)
		}
		for _, name := range []string{"web", "voting"} {
			if diff := cmp.Diff(s.Service(name, Window, now), again.Service(name, Window, now), protocmp.Transform()); diff != "" {
				t.Errorf("%s (-before +after):\n%s", name, diff)
			}
		}
		if diff := cmp.Diff(s.Callers("voting"), again.Callers("voting")); diff != "" {
			t.Errorf("callers (-before +after):\n%s", diff)
		}
		if again.window.total.rows != s.window.total.rows || again.reported.rows != s.reported.rows {
			t.Errorf("%+v and %+v, before %+v and %+v", again.window.total, again.reported, s.window.total, s.reported)
		}
	})
}

func TestFilesAreTheUsersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "telemetry")
		s := open(t, dir)
		busy(t, s)
		s.save(false)
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the directory: %v, %v", info.Mode(), err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) < 3 {
			t.Fatalf("%v, %v", entries, err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
				t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
			}
		}
		// What is older than an hour is not kept.
		time.Sleep(2 * Window)
		s.save(false)
		if entries, err = os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("%v, %v", entries, err)
		}
	})
}

// Damage costs what was known, and a warning, and never the start.
func TestDamageIsAWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := t.TempDir()
		s := open(t, good)
		busy(t, s)
		s.save(false)
		before := s.Graph(Window, time.Now()).GetEdges()[0].GetCalls().GetCalls()
		var state string
		var windows []string
		entries, err := os.ReadDir(good)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), filePrefix) {
				windows = append(windows, e.Name())
			} else {
				state = e.Name()
			}
		}
		r := rand.New(rand.NewPCG(1, 1))
		damages := map[string]func(b []byte) []byte{
			"empty":                 func([]byte) []byte { return nil },
			"cut":                   func(b []byte) []byte { return b[:r.IntN(len(b))] },
			"a bit":                 func(b []byte) []byte { b[r.IntN(len(b))] ^= 1 << r.IntN(8); return b },
			"longer":                func(b []byte) []byte { return append(b, 0) },
			"of another file":       func(b []byte) []byte { return []byte(strings.Repeat("x", len(b))) },
			"of a format new to it": func(b []byte) []byte { b[len(magic)]++; return b },
		}
		for name, damage := range damages {
			for _, file := range []string{state, windows[0]} {
				for range 20 {
					dir := t.TempDir()
					if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
						t.Fatal(err)
					}
					content, err := os.ReadFile(filepath.Join(dir, file))
					if err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(filepath.Join(dir, file), damage(content), 0o600); err != nil {
						t.Fatal(err)
					}
					var log bytes.Buffer
					s, err := Open(Config{Identify: identify, Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
					if err != nil {
						t.Fatalf("%s, %s: %v", name, file, err)
					}
					if n := strings.Count(log.String(), "level=WARN"); n != 1 {
						t.Errorf("%s, %s: %d warnings:\n%s", name, file, n, log.String())
					}
					var calls uint64
					for _, e := range s.Graph(Window, time.Now()).GetEdges() {
						calls += e.GetCalls().GetCalls()
					}
					if file == state && calls != 0 || file != state && (calls == 0 || calls >= before) {
						t.Errorf("%s, %s: %d calls of %d are known", name, file, calls, before)
					}
					s.save(false)
					if again := open(t, dir); file == state && !again.since.Equal(s.since) {
						t.Errorf("%s: not mended by what was saved next", name)
					}
				}
			}
		}
	})
}

// A directory that cannot be written costs a warning.
func TestADiskThatFailsIsAWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "telemetry")
		var log bytes.Buffer
		s, err := Open(Config{Identify: identify, Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		busy(t, s)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		s.save(false)
		if !strings.Contains(log.String(), "could not be saved") {
			t.Errorf("logged:\n%s", log.String())
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s.save(false)
		now := time.Now()
		if diff := cmp.Diff(s.Graph(Window, now), open(t, dir).Graph(Window, now), protocmp.Transform()); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
		if _, err := Open(Config{Identify: identify, Dir: filepath.Join(dir, fileState, "below")}); err == nil || !strings.Contains(err.Error(), "telemetry:") {
			t.Errorf("a directory below a file: %v", err)
		}
	})
}

// Whatever stands in a file whose checksum is right, nothing breaks.
func FuzzLoad(f *testing.F) {
	s := New(Config{Identify: identify, Logger: quiet})
	d, err := openDisk(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	s.disk = d
	p := newProcess("voting", "a")
	p.call("db", "/d/Get", "OK", time.Millisecond)
	p.of("tulle.server.access", "grpc.method", "/v/Vote", "tulle.verdict", "denied").count(3)
	if _, err := s.export(who("voting"), decoderOf(p.message())); err != nil {
		f.Fatal(err)
	}
	_, state := s.encode(time.Now(), true)
	f.Add(state)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, state []byte) {
		d := &disk{dir: dir, saved: map[int64]string{}}
		if err := d.write(fileState, state); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir)
		s.Graph(Window, time.Now())
		for service := range s.services {
			s.Service(service, Window, time.Now())
			s.Callers(service)
		}
		s.window.sweep()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.disk.read(fileState); err != nil && !os.IsNotExist(err) {
			t.Errorf("what was saved cannot be read: %v", err)
		}
	})
}
