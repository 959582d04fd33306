package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// damages are the ways a file is found broken.
var damages = []struct {
	name   string
	damage func(good []byte) []byte
}{
	{"corrupt", func(good []byte) []byte {
		bad := append([]byte(nil), good...)
		for i := len(bad) / 8; i < len(bad); i += 97 {
			bad[i] ^= 0x55
		}
		return bad
	}},
	{"truncated", func(good []byte) []byte { return good[:len(good)*2/3] }},
	{"foreign", func([]byte) []byte { return []byte(strings.Repeat("SQLite format 3\x00", 4096)) }},
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A server that finds its database damaged goes on with the copy and says so. One
// that finds the copy damaged, too, does not start, touches nothing, and says what
// to do; that helps.
func TestDamagedDatabaseAtStart(t *testing.T) {
	s := startServer(t)
	s.apply(t, canary)
	s.stop(t)
	database := filepath.Join(s.data, "tulle.db")
	good := readFile(t, database)

	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			bad := d.damage(good)
			writeFile(t, database, bad)
			s.restart(t)
			if code, out := s.run(t, "get", "route", "voting-canary"); code != 0 {
				t.Errorf("what was applied is gone: exit code %d\n%s", code, out)
			}
			if _, out := s.run(t, "check"); !containsAll(out, database, "its copy is used", "is kept as") {
				t.Errorf("check does not tell of it:\n%s", out)
			}
			if log := s.stderr.String(); !containsAll(log, `"level":"ERROR"`, "replaced by its copy", database) {
				t.Errorf("the log does not tell of it:\n%s", log)
			}
			s.stop(t)

			writeFile(t, database, bad)
			writeFile(t, database+".bak", d.damage(good))
			p := start(t, "xdsserver", s.args())
			code, said := p.wait(), p.stderr.String()
			if code != 1 || strings.Count(said, "\n") != 1 || !containsAll(said, "Error: store: ", database, "mv ") {
				t.Fatalf("without a good copy: exit code %d, want 1 and one line that says where and what to do:\n%s", code, said)
			}
			if string(readFile(t, database)) != string(bad) {
				t.Error("the damaged file was changed")
			}
			_, advice, _ := strings.Cut(strings.TrimSpace(said), "start with no applied objects: ")
			for step := range strings.SplitSeq(advice, " && ") {
				words := strings.Fields(step) // mv FROM TO
				if err := os.Rename(words[1], words[2]); err != nil {
					t.Fatal(err)
				}
			}
			s.restart(t)
			s.apply(t, canary)
			s.stop(t)
			if left := readFile(t, database); len(left) != len(good) {
				t.Errorf("the new database has %d bytes, want %d", len(left), len(good))
			}
		})
	}
}

// A service that starts while xdsserver is dead, on a disk cache that is damaged,
// says once which file it cannot use and why, and its calls fail with what to do.
// With xdsserver back it writes the file anew, and can start from it.
func TestDamagedDiskCache(t *testing.T) {
	s := startServer(t)
	s.echo(t, "voting", "v1")
	s.awaitEndpoints(t, "voting", 1)
	state := t.TempDir()
	caller := func(state string) *process {
		return start(t, "caller", nil, "TULLE_SERVICE=web", "TULLE_SERVER="+s.target(), "TULLE_STATE_DIR="+state, "TULLE_E2E_TARGET=voting")
	}
	report := func(p *process) firstCall {
		t.Helper()
		var report firstCall
		if err := json.NewDecoder(p.stdout).Decode(&report); err != nil {
			t.Fatalf("%v: %s", err, p.stderr.String())
		}
		return report
	}
	if got := report(caller(state)); got.Err != "" {
		t.Fatal(got.Err)
	}
	good := readFile(t, filepath.Join(state, "web.xds"))
	s.kill()

	type run struct {
		name, cache string
		process     *process
	}
	var runs []run // at the same time: each waits for a server
	for _, d := range damages {
		r := run{name: d.name, cache: filepath.Join(t.TempDir(), "web.xds")}
		writeFile(t, r.cache, d.damage(good))
		r.process = caller(filepath.Dir(r.cache))
		runs = append(runs, r)
	}
	for _, r := range runs {
		got, log := report(r.process), r.process.stderr.String()
		if !containsAll(got.Err, "mesh:", s.socket) || got.Took > 8*time.Second {
			t.Errorf("%s: first call: %+v, want an error that names %s", r.name, got, s.socket)
		}
		if strings.Count(log, "disk cache ignored") != 1 || !strings.Contains(log, r.cache) {
			t.Errorf("%s: the log does not say once that %s is not used:\n%s", r.name, r.cache, log)
		}
	}

	s.restart(t)
	s.awaitEndpoints(t, "voting", 1)
	for _, r := range runs {
		if got := report(caller(filepath.Dir(r.cache))); got.Err != "" || got.Stale {
			t.Errorf("%s: with xdsserver back: %+v", r.name, got)
		}
	}
	s.kill()
	for _, r := range runs {
		if got := report(caller(filepath.Dir(r.cache))); got.Err != "" || !got.Stale || got.Took > time.Second {
			t.Errorf("%s: from the file written anew: %+v, want an answer within 1s", r.name, got)
		}
	}
}
