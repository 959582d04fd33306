package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// A scenario is trouble, and what the mesh makes of it: the same trouble before and
// after one thing that an operator does.
type scenario struct {
	name, says string
	instances  []instance
	phases     []phase
}

// An instance is one process of the application.
type instance struct{ service, version, zone string }

// A phase is a stretch of the scenario.
type phase struct {
	name, says string
	// apply is what the operator applies at its start; empty leaves all as it is.
	apply string
	// orders are what instances are told at its start, by name; see obey.
	orders map[string]string
	// kill are instances that die at its start, start those that come.
	kill, start []string
}

// plain is the service as gRPC alone would call it.
const plain = `apiVersion: tulle/v1
kind: Service
metadata: {name: voting}
spec:
  retry: {attempts: 1}
  breaker: {off: true}
  loadBalancing: {policy: round-robin, zone: {mode: spread}}
`

// healed is the service as the mesh calls it where nothing is said, but that its calls
// may be tried again: for a vote that only its service can know.
const healed = `apiVersion: tulle/v1
kind: Service
metadata: {name: voting}
spec:
  retry: {on: [unavailable], attempts: 3, idempotent: true}
`

// split sends a share of the votes to the new version.
func split(percent int) string {
	return fmt.Sprintf(`apiVersion: tulle/v1
kind: GRPCRoute
metadata: {name: voting-canary}
spec:
  parentRefs: [{kind: Service, name: voting}]
  rules:
    - backendRefs:
        - {name: voting, version: v1, weight: %d}
        - {name: voting, version: v2, weight: %d}
`, 100-percent, percent)
}

// three are one web and three voting instances.
var three = []instance{{"emoji", "", ""}, {"voting", "v1", ""}, {"voting", "v1", ""}, {"voting", "v1", ""}, {"web", "", ""}}

var scenarios = []scenario{
	{
		name: "slow-pod", says: "one of three instances of voting takes 200 ms for a vote",
		instances: three,
		phases: []phase{
			{name: "before", says: "round robin, as gRPC alone would", apply: plain, orders: map[string]string{"voting-3": "slow 200ms"}},
			{name: "after", says: "the mesh's own balancing, by one apply", apply: healed},
			{name: "recovered", says: "the instance is itself again", orders: map[string]string{"voting-3": "well"}},
		},
	},
	{
		name: "black-hole", says: "one of three instances of voting fails every vote at once",
		instances: three,
		phases: []phase{
			{name: "before", says: "round robin, as gRPC alone would", apply: plain, orders: map[string]string{"voting-3": "fail"}},
			{name: "after", says: "balancing, breaker and retries, by one apply", apply: healed},
			{name: "recovered", says: "the instance is itself again", orders: map[string]string{"voting-3": "well"}},
		},
	},
	{
		name: "retry-storm", says: "every instance of voting fails, and every call may be tried three times",
		instances: three,
		phases: []phase{
			{
				name: "before", says: "retries without a bound",
				apply: strings.TrimSuffix(healed, "\n") + `
  retryBudget: {percent: 100, minPerSecond: 10000}
`,
				orders: map[string]string{"voting-1": "fail", "voting-2": "fail", "voting-3": "fail"},
			},
			{name: "after", says: "the budget that every service has, by one apply", apply: healed},
			{name: "recovered", says: "the instances are themselves again", orders: map[string]string{"voting-1": "well", "voting-2": "well", "voting-3": "well"}},
		},
	},
	{
		name: "canary", says: "a new version of voting is worse than the old one",
		instances: []instance{{"emoji", "", ""}, {"voting", "v1", ""}, {"voting", "v1", ""}, {"voting", "v2", ""}, {"web", "", ""}},
		phases: []phase{
			{name: "before", says: "one vote in five goes to v2, which fails", apply: split(20), orders: map[string]string{"voting-3": "break"}},
			{name: "after", says: "rolled back by one apply", apply: split(0)},
			{name: "mended", says: "v2 is mended and has half of the votes", apply: split(50), orders: map[string]string{"voting-3": "well"}},
		},
	},
	{
		name: "zone-outage", says: "the zone of web loses all its instances of voting",
		instances: []instance{
			{"emoji", "", "north"},
			{"voting", "v1", "north"},
			{"voting", "v1", "north"},
			{"voting", "v1", "south"},
			{"voting", "v1", "south"},
			{"web", "", "north"},
		},
		phases: []phase{
			{name: "before", says: "voting-1 and voting-2 are in web's zone", apply: healed},
			{name: "after", says: "both are killed", kill: []string{"voting-1", "voting-2"}},
			{name: "recovered", says: "both are started again", start: []string{"voting-1", "voting-2"}},
		},
	},
}

func scenarioOf(name string) (scenario, error) {
	names := make([]string, 0, len(scenarios))
	for _, s := range scenarios {
		if s.name == name {
			return s, nil
		}
		names = append(names, s.name)
	}
	return scenario{}, fmt.Errorf("there is no scenario %q: there are %s", name, strings.Join(names, ", "))
}

// listScenarios says what there is, for the help.
func listScenarios() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for _, s := range scenarios {
		fmt.Fprintf(w, "  %s\t%s\n", s.name, s.says)
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}
