package house

import (
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// requirements are the modules go.mod may require directly, each with what it is
// for. A new one costs every user of the library: say what it weighs in
// docs/RATIONALE.md.
var requirements = map[string]string{
	"google.golang.org/grpc":                       "the transport the library is for",
	"google.golang.org/protobuf":                   "messages of xDS and of our own services",
	"google.golang.org/genproto/googleapis/rpc":    "google.rpc.Status: the reason in a NACK",
	"github.com/envoyproxy/go-control-plane/envoy": "the xDS messages, in the version grpc requires, so that each is registered once",
	"golang.org/x/sync":                            "errgroup: who starts goroutines waits for them",
	"golang.org/x/term":                            "the command line logs for people on a terminal, for programs elsewhere",
	"connectrpc.com/connect":                       "the admin API: gRPC, JSON and streams to a browser from one proto",
	"github.com/spf13/cobra":                       "the command line: completion for four shells, suggestions",
	"github.com/goccy/go-yaml":                     "strict YAML whose errors know line and column",
	"github.com/fsnotify/fsnotify":                 "configuration files are read again when they change",
	"go.etcd.io/bbolt":                             "the store: what is acknowledged is on disk",
	"github.com/spiffe/go-spiffe/v2":               "SPIFFE ids and X.509-SVIDs as the standard has them; the Workload API where it is asked for",
	"github.com/coreos/go-oidc/v3":                 "xdsserver: OIDC tokens that attest a process",
	"github.com/youmark/pkcs8":                     "xdsserver: keys of the authority encrypted on disk, in the format openssl reads",
	"golang.org/x/time":                            "xdsserver: rate limits of enrolment, and of queries to Consul",
	"github.com/hashicorp/consul/api":              "xdsserver: Consul as registry, store and authority",
	"github.com/hashicorp/go-bexpr":                "xdsserver: filters of subsets in Consul's service-resolvers, as Consul reads them",
	"github.com/hashicorp/consul/proto-public":     "xdsserver: Consul's authority signs by gRPC, where keys stay in their process",

	"github.com/sony/gobreaker/v2": "the state machine of a circuit breaker; nothing beneath it but the standard library",

	"go.opentelemetry.io/otel":                                          "spans: the API that applications have, and W3C propagation",
	"go.opentelemetry.io/otel/trace":                                    "spans: the API that applications have",
	"go.opentelemetry.io/otel/metric":                                   "mesh/telemetry/otel: the application's MeterProvider",
	"go.opentelemetry.io/otel/sdk":                                      "mesh/telemetry/otel: a TracerProvider from OTEL_*",
	"go.opentelemetry.io/otel/sdk/metric":                               "mesh/telemetry/otel: histograms enter a MeterProvider through its readers",
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc":   "mesh/telemetry/otel: exporters that honour OTEL_*",
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc": "mesh/telemetry/otel: exporters that honour OTEL_*",
	"go.opentelemetry.io/proto/otlp":                                    "OTLP, in which processes report and collectors are told",
	"github.com/prometheus/client_golang":                               "metrics for Prometheus, native histograms among them",
	"github.com/prometheus/client_model":                                "xdsserver: one histogram in both of Prometheus's forms",
	"charm.land/bubbletea/v2":                                           "xdsserver top: a live table in a terminal",
	"charm.land/lipgloss/v2":                                            "xdsserver top: its colours",

	"github.com/HdrHistogram/hdrhistogram-go": "bench: latencies, of which rounds are added up",
	"golang.org/x/sys":                        "bench: a timer that is not a millisecond late",
	"golang.org/x/net":                        "tests: HTTP/2 frames for the thousands of clients of the stream engine's benchmark",
	"github.com/cncf/xds/go":                  "tests: load reports as others write them",
	"github.com/go-jose/go-jose/v4":           "tests: tokens of an OIDC issuer, good and hostile",
	"github.com/google/go-cmp":                "tests: differences between values",
	"go.uber.org/goleak":                      "tests: goroutines that outlive their owner",
	"pgregory.net/rapid":                      "tests: random values that shrink",
	"github.com/anishathalye/porcupine":       "tests: histories of several xdsservers are linearizable",
	"github.com/rogpeppe/go-internal":         "tests: the command line as testdata/*.txtar scripts",
	"github.com/failsafe-go/failsafe-go":      "tests: its policies are the yardstick of what a client's call costs",
	"github.com/envoyproxy/go-control-plane":  "tests: its caches are the yardstick of the stream engine's benchmark",
}

// linked are the modules an application links when it imports the library.
var linked = map[string]string{
	module:                       "the library",
	"google.golang.org/grpc":     "the transport the library is for",
	"google.golang.org/protobuf": "grpc needs it",
	"google.golang.org/genproto/googleapis/rpc": "grpc needs it: google.rpc.Status",
	"golang.org/x/net":                          "grpc needs it: HTTP/2",
	"golang.org/x/sys":                          "grpc needs it",
	"golang.org/x/text":                         "x/net needs it: host names",
	"golang.org/x/sync":                         "errgroup: who starts goroutines waits for them",
	"github.com/spiffe/go-spiffe/v2":            "SPIFFE ids and X.509-SVIDs as the standard has them",
	"github.com/sony/gobreaker/v2":              "the state machine of a circuit breaker",

	"go.opentelemetry.io/proto/otlp":  "the messages in which processes report what they count",
	"go.opentelemetry.io/otel":        "spans of calls, by the tracer that the application installed; W3C propagation",
	"go.opentelemetry.io/otel/trace":  "spans of calls",
	"go.opentelemetry.io/otel/metric": "otel needs it: its global provider of metrics",
	"go.opentelemetry.io/otel/log":    "otel needs it: its error handler",
	"go.opentelemetry.io/auto/sdk":    "otel needs it: spans for instrumentation from outside of the process",
	"github.com/go-logr/logr":         "otel needs it: its own log",
	"github.com/go-logr/stdr":         "otel needs it: its own log",
	"github.com/cespare/xxhash/v2":    "otel needs it: hashes of attributes",
}

// grpcXDSInside is where the weight behind grpcXDS lies.
const grpcXDSInside = "google.golang.org/grpc/internal/xds/xdsclient"

// A requirement is a module as the go command prints it; that its keys begin
// with capitals is the same to encoding/json.
type requirement struct {
	Path     string `json:"path"`
	Indirect bool   `json:"indirect"`
}

// breaksRequirements compares the direct requirements with the allowlist.
func breaksRequirements(required []requirement, allowed map[string]string) []string {
	var broken []string
	stale := maps.Clone(allowed)
	for _, r := range required {
		if r.Indirect {
			continue
		}
		if allowed[r.Path] == "" {
			broken = append(broken, fmt.Sprintf(
				"go.mod requires %s: each direct requirement stands in internal/house/modules_test.go with its reason, "+
					"since every user of the library carries it in its go.sum", r.Path))
		}
		delete(stale, r.Path)
	}
	for p := range stale {
		broken = append(broken, fmt.Sprintf(
			"internal/house/modules_test.go allows %s, which go.mod does not require directly: take it out", p))
	}
	return broken
}

func TestGoModRequiresOnlyWhatIsAllowedWithAReason(t *testing.T) {
	out, err := goCommand("mod", "edit", "-json")
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Require []requirement `json:"require"`
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	report(t, breaksRequirements(mod.Require, requirements))
}

func TestTheAllowlistOfRequirementsBites(t *testing.T) {
	allowed := map[string]string{"example.com/used": "a reason"}
	used := requirement{Path: "example.com/used"}
	tests := []struct {
		name     string
		required []requirement
		want     []string
	}{
		{name: "an allowed module is fine", required: []requirement{used}},
		{name: "an indirect module is no choice of ours", required: []requirement{used, {Path: "example.com/far", Indirect: true}}},
		{
			name:     "a module without a reason is refused",
			required: []requirement{used, {Path: "example.com/new"}},
			want:     []string{"go.mod requires example.com/new"},
		},
		{
			name: "a reason without a module is refused",
			want: []string{"allows example.com/used, which go.mod does not require"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			compare(t, breaksRequirements(tt.required, allowed), tt.want)
		})
	}
}

// A dependency is a package an application links, as `go list -deps` prints it.
type dependency struct {
	ImportPath string       `json:"importPath"`
	Module     *requirement `json:"module"` // nil for the standard library
}

// breaksLinked lists modules beside the allowed ones, and the xDS tree of grpc.
func breaksLinked(deps []dependency, allowed map[string]string) []string {
	broken := map[string]bool{}
	for _, d := range deps {
		if under(d.ImportPath, grpcXDS) || under(d.ImportPath, grpcXDSInside) {
			broken["the library links "+d.ImportPath+": grpc-go's xDS adds 16 MB and 11 modules to every service"] = true
		}
		if d.Module != nil && allowed[d.Module.Path] == "" {
			broken[fmt.Sprintf(
				"the library links %s of module %s: importing Tulle drags in nothing that calls do not need; "+
					"a module that must be linked stands in internal/house/modules_test.go with its reason",
				d.ImportPath, d.Module.Path)] = true
		}
	}
	return slices.Collect(maps.Keys(broken))
}

// isLinked reports whether applications import the package: it is of the
// library, and not the test kit, the targets of other control planes, the bridges to
// what applications measure with, or the operator's API.
func isLinked(pkg string) bool {
	for _, apart := range []string{
		"mesh/meshtest", "mesh/identity/workload", "mesh/telemetry/otel", "mesh/telemetry/prometheus",
		"resolver/stock", "mesh/api/admin", "balancer/balancertest", "interceptors/access/accesstest",
	} {
		if under(pkg, apart) {
			return false
		}
	}
	return slices.ContainsFunc(lawOfLibrary, func(r room) bool { return under(pkg, r.path) })
}

func TestAnApplicationLinksOnlyWhatCallsNeed(t *testing.T) {
	args := []string{"list", "-deps", "-json=ImportPath,Module"}
	for dir, files := range repository(t).packages() {
		if isLinked(dir) && slices.ContainsFunc(files, func(f *file) bool { return !f.isTest() }) {
			args = append(args, "./"+dir)
		}
	}
	out, err := goCommand(args...)
	if err != nil {
		t.Fatal(err)
	}
	var deps []dependency
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var d dependency
		if err := dec.Decode(&d); err != nil {
			t.Fatal(err)
		}
		deps = append(deps, d)
	}
	report(t, breaksLinked(deps, linked))
}

func TestTheListOfLinkedModulesBites(t *testing.T) {
	mod := func(p string) *requirement { return &requirement{Path: p} }
	got := breaksLinked([]dependency{
		{ImportPath: "net/http"},
		{ImportPath: "google.golang.org/grpc", Module: mod("google.golang.org/grpc")},
		{ImportPath: "go.etcd.io/bbolt", Module: mod("go.etcd.io/bbolt")},
		{ImportPath: grpcXDS + "/csds", Module: mod("google.golang.org/grpc")},
	}, linked)
	compare(t, got, []string{
		"the library links go.etcd.io/bbolt of module go.etcd.io/bbolt",
		"the library links google.golang.org/grpc/xds/csds: grpc-go's xDS adds 16 MB",
	})
}

// goCommand runs the go command in the repository.
func goCommand(args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", cmd, err, stderr.String())
	}
	return out, nil
}
