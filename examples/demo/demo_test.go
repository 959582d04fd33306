package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain plays a role of the demo, as the demo's own binary does, for the benchmark.
func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) != "" {
		main() // does not return
	}
	goleak.VerifyTestMain(m)
}

// The tour, as a program runs it: it ends by itself, and nothing fails but what
// fails on purpose.
func TestDemoFailsOnlyOnPurpose(t *testing.T) {
	demo := filepath.Join(t.TempDir(), "demo")
	if out, err := exec.Command("go", "build", "-o", demo, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	began := time.Now()
	cmd := exec.Command(demo, "--requests", "200", "-o", "json")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("took %v, want less than a minute", took)
	}
	var got struct {
		Requests, OK, Failed int64
		Calls                []resultCall
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got.Requests != 200 || got.OK+got.Failed != 200 {
		t.Errorf("%d requests, %d ok, %d failed, want 200 in all", got.Requests, got.OK, got.Failed)
	}
	var doughnuts, direct int64
	versions := map[string]int64{}
	for _, c := range got.Calls {
		switch {
		case c.Method == "VoteDoughnut" && c.OK != 0:
			t.Errorf("%+v: want every call to fail", c)
		case c.Method != "VoteDoughnut" && c.OK != c.Count:
			t.Errorf("%+v: want every call to succeed", c)
		}
		if c.Source == outside {
			direct += c.Count
			if c.Method == "VoteDoughnut" {
				doughnuts += c.Count
			}
		}
		if c.Destination == "voting" {
			versions[c.Version] += c.Count
		}
	}
	if direct != 200 || doughnuts != got.Failed {
		t.Errorf("%d calls to web and %d for the doughnut, want 200 and the %d that failed", direct, doughnuts, got.Failed)
	}
	if versions["v1"] <= versions["v2"] || versions[""] != 0 {
		t.Errorf("calls to voting by version: %v, want most at v1 and some at v2", versions)
	}
}

func TestMergeSumsWhatSeveralProcessesCounted(t *testing.T) {
	a, b, c := newTally("web"), newTally("web"), newTally(outside)
	k := callKey{"web", "voting", "Vote", "v1"}
	a.add(k, true, time.Millisecond)
	b.add(k, false, time.Millisecond)
	c.add(callKey{outside, "web", "Vote", ""}, true, time.Second)
	got := merge(a.calls(), b.calls(), c.calls())
	if len(got) != 2 || got[0].Source != outside || got[1].Count != 2 || got[1].OK != 1 {
		t.Errorf("got %+v, want traffic first, then two calls of which one is ok", got)
	}
	if p := got[1].percentile(.99); p < time.Millisecond || p > 2*time.Millisecond {
		t.Errorf("p99 %v, want the bound above 1ms", p)
	}
}
