package main

import (
	"bufio"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A tourist is the running demo, as somebody at the grid sees it.
type tourist struct {
	t         *testing.T
	url       string
	dashboard string // an address that opens it, once
	frames    *bufio.Scanner
	last      frame
}

// visit starts the demo, which ends with the test, and opens its grid.
func visit(t *testing.T) *tourist {
	t.Helper()
	demo := filepath.Join(t.TempDir(), "demo")
	if out, err := exec.Command("go", "build", "-o", demo, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(demo)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-drained // before Wait, which closes the pipe
		if err := cmd.Wait(); err != nil {
			t.Errorf("the demo did not end well: %v", err)
		}
	})
	address := regexp.MustCompile(`(the dashboard|each call, and trouble) +(http://\S+)`)
	lines := bufio.NewScanner(stderr)
	v := &tourist{t: t}
	for v.url == "" && lines.Scan() {
		switch m := address.FindStringSubmatch(lines.Text()); {
		case m == nil:
		case m[1] == "the dashboard":
			v.dashboard = m[2]
		default:
			v.url = m[2]
		}
	}
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, stderr)
	}()
	if v.url == "" {
		t.Fatal("the demo names no grid")
	}
	answer, err := http.Get(v.url + "/calls")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close(); http.DefaultClient.CloseIdleConnections() })
	v.frames = bufio.NewScanner(answer.Body)
	v.frames.Buffer(nil, 1<<20)
	return v
}

// until reads frames until one is as wanted.
func (v *tourist) until(what string, wanted func(frame) bool) {
	v.t.Helper()
	end := time.Now().Add(30 * time.Second)
	for time.Now().Before(end) && v.frames.Scan() {
		data, ok := strings.CutPrefix(v.frames.Text(), "data: ")
		if !ok {
			continue
		}
		v.last = frame{}
		if err := json.Unmarshal([]byte(data), &v.last); err != nil {
			v.t.Fatal(err)
		}
		if wanted(v.last) {
			return
		}
	}
	v.t.Fatalf("no frame within 30 s in which %s; the last is %+v (%v)", what, v.last, v.frames.Err())
}

func (v *tourist) turn(name, value string) {
	v.t.Helper()
	answer, err := http.Post(v.url+"/switch/"+name+"/"+value, "", nil)
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	if said, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusNoContent {
		v.t.Fatalf("%s %s: %s: %s", name, value, answer.Status, said)
	}
}

func cellsOf(f frame, is func(cell) bool) int {
	n := 0
	for _, c := range f.Cells {
		if is(c) {
			n++
		}
	}
	return n
}

func TestTheGridShowsTroubleAndHowItHeals(t *testing.T) {
	v := visit(t)
	failed := func(c cell) bool { return c.Code != "OK" && !c.OnPurpose }
	by := func(instance string) func(cell) bool { return func(c cell) bool { return c.Instance == instance } }
	well := func(f frame) bool { return len(f.Cells) > 10 && cellsOf(f, failed) == 0 }

	v.until("all is well", well)
	v.turn("faults", "60")
	v.until("votes fail", func(f frame) bool { return f.Switches.Faults == 60 && cellsOf(f, failed) > 0 })
	v.turn("faults", "0")
	v.until("votes fail no more", well)

	v.turn("kill", "on")
	v.until("the killed instance takes no votes", func(f frame) bool {
		return f.Switches.Killed && len(f.Cells) > 15 && cellsOf(f, by(killedInstance)) == 0 && cellsOf(f, failed) == 0
	})
	v.turn("server", "on")
	v.until("calls go on without xdsserver", func(f frame) bool { return f.Switches.ServerKilled && well(f) })
	v.turn("server", "off")
	v.turn("kill", "off")
	v.until("the instance takes votes again", func(f frame) bool { return cellsOf(f, by(killedInstance)) > 0 && cellsOf(f, failed) == 0 })
	v.turn("slow", "on")
	v.until("the slow instance is seen", func(f frame) bool {
		return cellsOf(f, func(c cell) bool { return c.Instance == slowInstance && c.Took > 250 }) > 0
	})
	v.until("it is avoided", func(f frame) bool {
		return len(f.Cells) > 15 && cellsOf(f, func(c cell) bool { return c.Took > 250 }) == 0
	})
	v.turn("slow", "off")
	v.turn("rotate", "on")
	v.until("calls go on while the authority rotates", well)
	if n := len(v.last.Happened); n != 9 {
		t.Errorf("%d things happened, want the 9 that were asked for: %+v", n, v.last.Happened)
	}
}

func TestTheGridLetsNobodyElseIn(t *testing.T) {
	v := visit(t)
	for _, tt := range []struct {
		name, method, path, host string
		header                   http.Header
	}{
		{name: "a page under another name", method: http.MethodGet, path: "/", host: "attacker.test"},
		{name: "a switch turned by another site", method: http.MethodPost, path: "/switch/kill/on", header: http.Header{"Sec-Fetch-Site": {"cross-site"}}},
		{name: "a dashboard opened by another site", method: http.MethodGet, path: "/dashboard", header: http.Header{"Sec-Fetch-Site": {"cross-site"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, v.url+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = tt.host
			maps.Copy(req.Header, tt.header)
			answer, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusForbidden {
				t.Errorf("got %s, want that it is forbidden", answer.Status)
			}
		})
	}
	answer, err := http.Post(v.url+"/switch/nothing/on", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusConflict {
		t.Errorf("an unknown switch: got %s", answer.Status)
	}
}
