package cli

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tulle-mesh/tulle/mesh/api"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

const day = 24 * time.Hour

func ahead(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(time.Now().Add(d)) }

// well are the facts of a mesh in which all is well.
func well() *facts {
	life := func(name string, total time.Duration) *adminv1.CACertificate {
		return &adminv1.CACertificate{Name: name, Phase: "active", NotBefore: ahead(-total / 4), NotAfter: ahead(3 * total / 4), Online: true}
	}
	return &facts{
		url: "http://127.0.0.1:18080",
		status: &adminv1.GetStatusResponse{
			Version: api.Version, DataDir: "/var/lib/tulle", Snapshot: "7", Started: ahead(-day), Published: ahead(-time.Hour),
			Store:     &adminv1.StoreStatus{FreeBytes: 10 << 30},
			Telemetry: &adminv1.TelemetryStatus{Processes: 2, Collector: "dns:///collector:4317"},
			Sources:   []*adminv1.SourceStatus{{Name: "file"}},
			Clients: []*adminv1.Client{
				{Node: "web/1", Service: "web", UserAgent: "tulle " + api.Version, Peer: "10.0.0.9:1", Current: true, Connected: ahead(-time.Hour)},
				{Node: "cart/1", Service: "cart", UserAgent: "gRPC Java 1.79.0", Peer: "10.0.0.8:1", Current: true, Connected: ahead(-time.Hour)},
			},
			Security: &adminv1.Security{
				Authority: &adminv1.Authority{
					TrustDomain: "tulle.local", Kind: "built-in", RootOnline: true, LeafTtl: durationpb.New(day),
					Roots: []*adminv1.CACertificate{life("root-1", 3650*day)}, Intermediates: []*adminv1.CACertificate{life("intermediate-1", 30*day)},
				},
				Enrolment: []string{"socket", "token"}, AccessDefault: "authenticated", Now: ahead(0),
				Identities: []*adminv1.Identity{{Node: "web/1", Service: "web", NotBefore: ahead(-time.Hour), NotAfter: ahead(23 * time.Hour), Peer: "10.0.0.9:1"}},
			},
		},
		objects:   []*adminv1.Object{{Ref: &adminv1.Ref{Kind: "Service", Name: "voting"}}},
		endpoints: []*adminv1.Endpoint{{Service: "voting", State: "healthy"}},
		graph: &adminv1.GetGraphResponse{
			Services: []*adminv1.ServiceStat{
				{Service: "voting", Instances: 2, Meshed: 2, Healthy: 2, Inbound: &adminv1.Golden{Calls: 600, Failures: 1, Rps: 10}},
				{Service: "web", Instances: 1, Meshed: 1, Healthy: 1},
			},
			Edges: []*adminv1.EdgeStat{
				{Source: "web", Destination: "voting", Calls: &adminv1.Golden{Calls: 500}, Security: "mtls"},
				{Source: "cart", Destination: "voting", Calls: &adminv1.Golden{Calls: 100}, Security: "mtls", Stock: true},
			},
		},
	}
}

// broken makes the facts those of a mesh in which one check is not true.
var broken = map[string]func(*facts){
	serverAnswers: func(f *facts) {
		f.unreachable = errors.New("no xdsserver answers at http://127.0.0.1:18080 (connect: connection refused); " +
			"start one with 'xdsserver serve', or name another with --admin or TULLE_ADMIN")
	},
	"server-version": func(f *facts) {
		f.status.Version, f.status.Clients = "0.0.9", f.status.GetClients()[1:]
	},
	"server-warm": func(f *facts) { f.status.Started, f.status.Warming = ahead(-3*time.Second), true },
	"store-writes": func(f *facts) {
		f.status.Store.Problem = "store: write /var/lib/tulle/tulle.db: no space left on device"
	},
	"store-room":      func(f *facts) { f.status.Store.FreeBytes = 96 << 20 },
	"authority-signs": func(f *facts) { authorityOf(f).Problem = "intermediate-1.key is gone: restore it" },
	"authority-life":  func(f *facts) { authorityOf(f).Intermediates[0].NotAfter = ahead(2 * day) },
	"rotation-not-stuck": func(f *facts) {
		authorityOf(f).Rotation = &adminv1.Rotation{Level: "root", Phase: "prepared", Since: ahead(-3 * time.Hour), Waiting: "1 client"}
	},
	"root-key": func(f *facts) { authorityOf(f).RootOnline, authorityOf(f).IssuesUntil = false, ahead(2*day) },
	"clocks-agree": func(f *facts) {
		f.status.Security.Identities[0].NotBefore = ahead(10 * time.Minute)
	},
	"clients-renew": func(f *facts) {
		f.status.Security.Identities[0].NotBefore, f.status.Security.Identities[0].NotAfter = ahead(-23*time.Hour), ahead(time.Hour)
	},
	"mtls-strict": func(f *facts) {
		f.status.Security.Permissive = []*adminv1.Permissive{{Service: "voting", Until: ahead(3 * day), Callers: []*adminv1.PlaintextCaller{
			{Address: "10.0.0.7", Calls: 5, Last: ahead(-time.Minute)},
		}}}
	},
	"access-trials": func(f *facts) {
		f.status.Security.Trials = []*adminv1.Trial{{
			Service: "voting", Caller: "spiffe://tulle.local/ns/default/svc/emoji", Method: "/vote.v1.Votes/Cast", Policy: "default/voting", Calls: 3, Last: ahead(-time.Minute),
		}}
	},
	"enrolment": func(f *facts) { f.status.Security.Enrolment = nil },
	"admin-closed": func(f *facts) {
		f.status.Security.AdminOpen = "this system does not say whose a connection is: every user can read it"
	},
	"sources-current": func(f *facts) {
		f.status.Sources[0].Error = "open /etc/tulle/mesh.yaml: no such file or directory"
	},
	"objects-served": func(f *facts) {
		f.status.Problems = []*adminv1.Problem{{
			Object: &adminv1.Ref{Kind: "Service", Name: "voting"}, Origin: "mesh.yaml:4:8", Field: "spec.timeuot",
			Message: `unknown field "timeuot": did you mean timeout?`,
		}}
	},
	"published": func(f *facts) { f.status.Snapshot = "" },
	"clients-accept": func(f *facts) {
		f.status.Rejections = []*adminv1.Rejection{{
			Node: "cart/1", Type: "type.googleapis.com/envoy.config.cluster.v3.Cluster", Resource: "voting/v2", At: ahead(-time.Minute),
			Reason: "unsupported load balancing policy",
		}}
	},
	"clients-current": func(f *facts) { f.status.Clients[0].Current = false },
	"clients-version": func(f *facts) { f.status.Clients[0].UserAgent = "tulle 0.0.9" },
	"reports-taken":   func(f *facts) { f.status.Telemetry, f.graph = nil, nil },
	"reports-come":    func(f *facts) { f.silent = map[string][]string{"web": {"web/1", "web/2"}} },
	"reports-room":    func(f *facts) { f.status.Telemetry.Folded = 12 },
	"collector-takes": func(f *facts) {
		f.status.Telemetry.CollectorProblem, f.status.Telemetry.CollectorDropped = "connection refused", 40
	},
	"stock-clients-report":    func(f *facts) { f.graph.Edges[1].Stock = false },
	"services-have-endpoints": func(f *facts) { f.endpoints[0].State = "leaving" },
	"calls-succeed":           func(f *facts) { f.graph.Services[0].Inbound.Failures = 150 },
	"calls-allowed":           func(f *facts) { f.graph.Edges[0].Refused = 12 },
	"retries-in-budget":       func(f *facts) { f.graph.Edges[0].Denied = 30 },
	"calls-secured":           func(f *facts) { f.graph.Edges[0].Security = "plaintext" },
	"endpoints-in-use":        func(f *facts) { f.graph.Services[0].BreakersOpen = 1 },
}

func authorityOf(f *facts) *adminv1.Authority { return f.status.GetSecurity().GetAuthority() }

// never are checks that are never wrong, and unmended those that no command mends.
var (
	never    = map[string]bool{"access-policies": true}
	unmended = map[string]bool{"admin-closed": true}
)

// at runs f at a moment that documentation can show.
func at(t *testing.T, f func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)))
		f(t)
	})
}

func TestAllChecksAreTrueOfAMeshInWhichAllIsWell(t *testing.T) {
	at(t, func(t *testing.T) {
		for _, c := range judge(well()).Categories {
			for _, l := range c.Checks {
				if l.Result != success || l.Hint != "" || l.Command != "" {
					t.Errorf("%s: %+v", l.Anchor, l)
				}
			}
		}
	})
}

func TestEachCheckSaysWhatIsWrongAndWhatMendsIt(t *testing.T) {
	if len(broken) != len(checks)-len(never) {
		t.Errorf("%d checks are broken, want %d", len(broken), len(checks)-len(never))
	}
	seen := map[string]bool{}
	for _, c := range checks {
		if seen[c.id] || c.means == "" || c.category == "" {
			t.Errorf("%s is there twice, or its texts are not", c.id)
		}
		seen[c.id] = true
		if never[c.id] {
			continue
		}
		t.Run(c.id, func(t *testing.T) {
			at(t, func(t *testing.T) {
				f := well()
				broken[c.id](f)
				for _, category := range judge(f).Categories {
					for _, l := range category.Checks {
						if own := l.Anchor == anchor(c.id); (l.Result != success) != own {
							t.Errorf("%s is %s: %v", l.Anchor, l.Result, l.Details)
						} else if own {
							judgeTexts(t, &c, &l)
						}
					}
				}
			})
		})
	}
}

func judgeTexts(t *testing.T, c *check, l *resultLine) {
	if len(l.Details) == 0 || l.Hint == "" || (l.Command == "") != unmended[c.id] || strings.Contains(l.Command, "{}") {
		t.Errorf("it says %+v", l)
	}
	command, ok := strings.CutPrefix(l.Command, "xdsserver ")
	if !ok {
		return // of the system
	}
	// What is to be typed must be understood.
	found, args, err := New(IO{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}).Find(strings.Fields(command))
	if err == nil {
		err = found.ParseFlags(args)
	}
	if err == nil {
		err = found.ValidateArgs(found.Flags().Args())
	}
	if err != nil || found.RunE == nil {
		t.Errorf("%q is no command: %v", l.Command, err)
	}
}

func TestNamesFromElsewhereDoNotGetIntoCommands(t *testing.T) {
	for _, name := range []string{"a; rm -rf /", "$(id)", "`id`", "--admin", "a\nb", "", "\u202egnitov"} {
		f := well()
		f.graph.Services[0].Service, f.graph.Services[0].Inbound.Failures = name, 600
		for _, category := range judge(f).Categories {
			for _, l := range category.Checks {
				if l.Command != "" {
					t.Errorf("%q: try %q", name, l.Command)
				}
			}
		}
	}
}

// TestChecksAreDocumented holds docs/checks.md to the table: -update writes it anew.
func TestChecksAreDocumented(t *testing.T) {
	at(t, func(t *testing.T) {
		const path = "../../docs/checks.md"
		want := documentation()
		if f, ok := flag.Lookup("update").Value.(flag.Getter); ok && f.Get() == true {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
		got, err := os.ReadFile(path)
		if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
			t.Errorf("docs/checks.md is not of these checks: go test ./xdsserver/cli -run TestChecksAreDocumented -update (%v):\n%s", err, diff)
		}
	})
}

func documentation() string {
	var b strings.Builder
	b.WriteString(`# What check says

<!-- Made from xdsserver/cli/check_table.go: go test ./xdsserver/cli -run TestChecksAreDocumented -update -->

` + "`xdsserver check`" + ` asks the server about everything below. A line is √ when it is true; ‼ is a
warning, and with × the command exits with 1. ` + "`-o short`" + ` prints only what is not √, ` + "`--wait 5m`" + `
looks again until nothing fails and the server has settled, ` + "`-o json`" + ` is for programs. Below each check: what it looks like when it
is not true, with the command that mends it or shows more after ` + "`try:`" + `.
`)
	category := ""
	for i := range checks {
		c := &checks[i]
		if c.category != category {
			category = c.category
			fmt.Fprintf(&b, "\n## %s\n", category)
		}
		fmt.Fprintf(&b, "\n### <a id=%q></a>%s\n\n%s\n", c.id, c.says, wrapped(c.means))
		if never[c.id] {
			continue
		}
		f := well()
		broken[c.id](f)
		line := c.run(f)
		b.WriteString("\n```\n")
		printCheck(&b, &line)
		b.WriteString("```\n")
	}
	return b.String()
}

// wrapped breaks a text into lines that an editor shows.
func wrapped(text string) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		n := len([]rune(word))
		switch {
		case i == 0:
		case column+1+n > 90:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}
