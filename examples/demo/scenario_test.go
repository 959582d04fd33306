package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// played is what a scenario prints for programs.
type played struct {
	Scenario string
	Phases   []measure
}

// Each scenario, as a program runs it: real processes, and one apply between what is
// wrong and what the mesh makes of it.
func TestScenariosShowTheDifference(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	demo := filepath.Join(t.TempDir(), "demo")
	if out, err := exec.Command("go", "build", "-o", demo, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	checks := map[string]func(t *testing.T, before, after, last measure){
		"slow-pod": func(t *testing.T, before, after, last measure) {
			t.Helper()
			if before.Instances["voting-3"] < .25 || before.P99ms < 190 {
				t.Errorf("before: %+v, want a third at the slow one", before)
			}
			// On a busy machine everybody is slow at times.
			if after.Instances["voting-3"] > .1 || after.P99ms > before.P99ms*3/4 {
				t.Errorf("after: %+v, want next to nothing at the slow one", after)
			}
			if last.Success < 1 {
				t.Errorf("recovered: %+v, want all to succeed", last)
			}
		},
		"black-hole": func(t *testing.T, before, after, last measure) {
			t.Helper()
			if before.Success > .75 {
				t.Errorf("before: %+v, want a third to fail", before)
			}
			if after.Success < 1 || last.Success < 1 {
				t.Errorf("after: %+v; recovered: %+v, want all to succeed", after, last)
			}
		},
		"retry-storm": func(t *testing.T, before, after, last measure) {
			t.Helper()
			if before.Attempts < 1.8 {
				t.Errorf("before: %+v, want about two attempts or more for each vote", before)
			}
			if after.Attempts > 1.35 {
				t.Errorf("after: %+v, want the votes, a fifth more, and ten a second", after)
			}
			if last.Success < .9 {
				t.Errorf("recovered: %+v, want nearly all to succeed", last)
			}
		},
		"canary": func(t *testing.T, before, after, last measure) {
			t.Helper()
			if before.Success > .9 {
				t.Errorf("before: %+v, want one in five to fail", before)
			}
			// Instances tell what they count four times a second: some of it may be old.
			if after.Success < 1 || after.Instances["voting-3"] > .02 {
				t.Errorf("after: %+v, want all to succeed and none at v2", after)
			}
			if last.Success < 1 || last.Instances["voting-3"] < .3 {
				t.Errorf("mended: %+v, want all to succeed and half at v2", last)
			}
		},
		"zone-outage": func(t *testing.T, before, after, last measure) {
			t.Helper()
			if near := before.Instances["voting-1"] + before.Instances["voting-2"]; near < .8 {
				t.Errorf("before: %+v, want the votes in the own zone", before)
			}
			if after.Success < 1 || before.Success < 1 || last.Success < 1 {
				t.Errorf("some votes failed: %+v; %+v; %+v", before, after, last)
			}
			if far := after.Instances["voting-3"] + after.Instances["voting-4"]; far < .9 {
				t.Errorf("after: %+v, want the votes in the other zone", after)
			}
		},
	}
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			cmd := exec.Command(demo, "--scenario", s.name, "--phase", "4s", "-o", "json")
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			var got played
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got.Scenario != s.name || len(got.Phases) != 3 {
				t.Fatalf("got %+v, want three phases of %s", got, s.name)
			}
			checks[s.name](t, got.Phases[0], got.Phases[1], got.Phases[2])
		})
	}
}

func TestUnknownScenarioIsRefusedByName(t *testing.T) {
	_, err := scenarioOf("slow")
	if want := `there is no scenario "slow": there are slow-pod, black-hole, retry-storm, canary, zone-outage`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestOrdersAreObeyedOrRefused(t *testing.T) {
	t.Cleanup(func() { mine.Store(nil) })
	for _, order := range []string{"well", "fail", "break", "slow 200ms"} {
		if err := obey(order); err != nil {
			t.Errorf("%s: %v", order, err)
		}
	}
	for _, order := range []string{"", "slow", "slow down", "dance"} {
		if obey(order) == nil {
			t.Errorf("%q was obeyed", order)
		}
	}
}
