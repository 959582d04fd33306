package consul

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/translate"
)

const domain = "tulle.local"

// deciders are what servers of the services decide by, under the policies of a part.
func deciders(tb testing.TB, p part, services ...string) map[string]*resource.Inbound {
	tb.Helper()
	objects := slices.Clone(p.objects)
	for _, s := range services {
		name, err := model.ParseServiceName(s)
		if err != nil {
			tb.Fatal(err)
		}
		objects = append(objects, &model.Service{Name: name})
	}
	set := model.Validate(objects, nil, nil)
	for _, problem := range set.Problems {
		if !problem.Warning && !strings.Contains(problem.Message, "is denied until") {
			tb.Fatal(problem)
		}
	}
	set.Trust = &model.Trust{Domain: domain}
	out := map[string]*resource.Inbound{}
	for _, in := range translate.Inputs(set) {
		d := &resource.Inbound{}
		for _, r := range in.Inbound() {
			data, err := proto.Marshal(r.Message)
			if err != nil {
				tb.Fatal(err)
			}
			switch r.TypeURL {
			case resource.ListenerType:
				d.Listener, err = resource.DecodeListener(data)
			case resource.RouteType:
				var c *resource.RouteConfiguration
				if c, err = resource.DecodeRouteConfiguration(data); err == nil {
					d.VirtualHost = c.VirtualHosts[0]
				}
			}
			if err != nil {
				tb.Fatal(err)
			}
		}
		out[in.Service.Name.String()] = d
	}
	return out
}

func decides(d *resource.Inbound, source, method string, md metadata.MD) bool {
	return d.Access(method).Decide(&resource.Caller{ID: spiffe.ServiceID(domain, source)}, method, md).Allowed
}

func connected(tb testing.TB, agent *consultest.Agent) *consul.Client {
	tb.Helper()
	client, err := consul.New(consul.Config{Address: agent.Address(), Token: agent.Token, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = client.Close() })
	return client
}

func intend(name string, sources ...*api.SourceIntention) *api.ServiceIntentionsConfigEntry {
	return &api.ServiceIntentionsConfigEntry{Kind: api.ServiceIntentions, Name: name, Sources: sources}
}

// ranked gives sources the precedence that Consul's servers do.
func ranked(entries ...*api.ServiceIntentionsConfigEntry) []*api.ServiceIntentionsConfigEntry {
	for _, e := range entries {
		for _, s := range e.Sources {
			if s.Precedence = 9; e.Name == wildcard {
				s.Precedence = 6
			}
			if s.Name == wildcard {
				s.Precedence--
			}
		}
	}
	return entries
}

func action(name string, a api.IntentionAction) *api.SourceIntention {
	return &api.SourceIntention{Name: name, Action: a, Type: api.IntentionSourceConsul}
}

func permit(name string, permissions ...*api.IntentionPermission) *api.SourceIntention {
	return &api.SourceIntention{Name: name, Permissions: permissions, Type: api.IntentionSourceConsul}
}

func allowing(h api.IntentionHTTPPermission) *api.IntentionPermission {
	return &api.IntentionPermission{Action: api.IntentionActionAllow, HTTP: &h}
}

func denying(h api.IntentionHTTPPermission) *api.IntentionPermission {
	return &api.IntentionPermission{Action: api.IntentionActionDeny, HTTP: &h}
}

// write waits for a server that has just started, and does not take intentions yet.
func write(tb testing.TB, client *api.Client, e api.ConfigEntry) {
	tb.Helper()
	soon(tb, 10*time.Second, "Consul takes config entries", func() bool {
		_, _, err := client.ConfigEntries().Set(e, nil)
		if err != nil && !strings.Contains(err.Error(), "read only") {
			tb.Fatal(err)
		}
		return err == nil
	})
}

const callVote, callCount = "/a.Voting/Vote", "/a.Voting/Count"

func TestIntentionsThatAreNotHonouredFailClosed(t *testing.T) {
	const allow, deny = api.IntentionActionAllow, api.IntentionActionDeny
	jwt := &api.IntentionJWTRequirement{Providers: []*api.IntentionJWTProvider{{Name: "okta"}}}
	with := func(e *api.ServiceIntentionsConfigEntry, change func(*api.ServiceIntentionsConfigEntry)) []*api.ServiceIntentionsConfigEntry {
		change(e)
		return ranked(e)
	}
	source := func(a api.IntentionAction, change func(*api.SourceIntention)) *api.SourceIntention {
		s := action("web", a)
		change(s)
		return s
	}
	header := func(h api.IntentionHTTPHeaderPermission) api.IntentionHTTPPermission {
		return api.IntentionHTTPPermission{PathPrefix: "/a.Voting/", Header: []api.IntentionHTTPHeaderPermission{h}}
	}
	others := action("*", allow)
	for _, tt := range []struct {
		name    string
		entries []*api.ServiceIntentionsConfigEntry
		// web and other say whether they may call.
		web, other bool
		problem    string
	}{
		{"a token for a whole entry allows nobody", with(intend("api", action("web", allow), action("*", deny)), func(e *api.ServiceIntentionsConfigEntry) { e.JWT = jwt }), false, false, "JWT: source web is allowed with a token alone"},
		{"a token for one permission", ranked(intend("api", permit("web", &api.IntentionPermission{Action: allow, JWT: jwt, HTTP: &api.IntentionHTTPPermission{PathPrefix: "/"}}), others)), false, true, "Sources[0].Permissions[0].JWT: source web: servers of the mesh look at no JWT: it allows nothing"},
		{"a denial for a token denies without one", ranked(intend("api", permit("web", &api.IntentionPermission{Action: deny, JWT: jwt, HTTP: &api.IntentionHTTPPermission{PathPrefix: "/"}}, allowing(api.IntentionHTTPPermission{PathPrefix: "/"})), others)), false, true, "Sources[0].Permissions[0].JWT: source web: servers of the mesh look at no JWT: it denies whatever"},
		{"a peer is not the service of that name", ranked(intend("api", source(deny, func(s *api.SourceIntention) { s.Peer = "west" }), others)), true, true, "Sources[0].Peer: source web is of the peer"},
		{"a peer is not allowed either", ranked(intend("api", source(allow, func(s *api.SourceIntention) { s.Peer = "west" }))), false, false, "Sources[0].Peer"},
		{"an allowed sameness group is nobody", ranked(intend("api", source(allow, func(s *api.SourceIntention) { s.SamenessGroup = "g" }))), false, false, "Sources[0]: source web is of a sameness group, which the mesh does not have: it is not allowed"},
		{"a denied sameness group is everybody", ranked(intend("api", source(deny, func(s *api.SourceIntention) { s.SamenessGroup = "g" }), others)), false, false, "nobody can tell whom it denies: every call is denied"},
		{"a denied partition is everybody", ranked(intend("api", source(deny, func(s *api.SourceIntention) { s.Partition = "p" }), others)), false, false, `is in the partition "p"`},
		{"a denied namespace is everybody", ranked(intend("api", source(deny, func(s *api.SourceIntention) { s.Namespace = "n" }), others)), false, false, `is in the namespace "n"`},
		{"an allowed namespace is nobody", ranked(intend("api", source(allow, func(s *api.SourceIntention) { s.Namespace = "*" }))), false, false, `is in the namespace "*"`},
		{"an entry of another namespace closes", with(intend("api", others), func(e *api.ServiceIntentionsConfigEntry) { e.Namespace = "n" }), false, false, "every call to api is denied"},
		{"a denied source that no certificate can name is everybody", ranked(intend("api", action("Web_1", deny), others)), false, false, "source Web_1 has a name that the mesh does not take"},
		{"an allowed source that no certificate can name is nobody", ranked(intend("api", action("Web_1", allow))), false, false, "source Web_1"},
		{"an action of a later Consul denies", ranked(intend("api", action("web", "audit"), others)), false, true, `Sources[0].Action: source web has the action "audit"`},
		{"a permission of a later Consul denies", ranked(intend("api", permit("web", &api.IntentionPermission{Action: "audit", HTTP: &api.IntentionHTTPPermission{PathPrefix: "/"}}), others)), false, true, `Permissions[0].Action: source web: the action "audit" is unknown`},
		{"a header that no server sees allows nothing", ranked(intend("api", permit("web", allowing(header(api.IntentionHTTPHeaderPermission{Name: ":authority", Exact: "a"}))))), false, false, "Permissions[0].HTTP.Header: source web: name :authority"},
		{"a header that no server sees denies whatever it is", ranked(intend("api", permit("web", denying(header(api.IntentionHTTPHeaderPermission{Name: "x-bin", Exact: "a"})), allowing(api.IntentionHTTPPermission{PathPrefix: "/"})))), false, false, "it denies whatever that is"},
		{"an expression that is none allows nothing", ranked(intend("api", permit("web", allowing(api.IntentionHTTPPermission{PathRegex: "("})))), false, false, `Permissions[0].HTTP.PathRegex: source web: "(" is no RE2 expression`},
		{"an expression that is none denies every path", ranked(intend("api", permit("web", denying(api.IntentionHTTPPermission{PathRegex: "("}), allowing(api.IntentionHTTPPermission{PathPrefix: "/"})))), false, false, "it denies whatever that is"},
		{"a header of no kind allows nothing", ranked(intend("api", permit("web", allowing(header(api.IntentionHTTPHeaderPermission{Name: "x-a"}))))), false, false, "header x-a says nothing to match by"},
		{"a destination that no certificate can name is told", ranked(intend("Api_1", action("web", allow))), false, false, "has a name that the mesh does not take"},
		{"more than a policy holds is closed", ranked(intend("api", permit("web", slices.Repeat([]*api.IntentionPermission{allowing(api.IntentionHTTPPermission{PathPrefix: "/b"})}, 300)...))), false, false, "cannot be written as a policy, so every call is denied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := compileIntentions(ruling{entries: tt.entries})
			d := deciders(t, p, "api", "web", "other")["api"]
			if web, other := decides(d, "web", callVote, nil), decides(d, "other", callVote, nil); web != tt.web || other != tt.other {
				t.Errorf("web %v, other %v: want %v, %v", web, other, tt.web, tt.other)
			}
			var all []string
			for _, problem := range p.problems {
				all = append(all, fmt.Sprintf("%s %s: %s", problem.From, problem.Field, problem.Message))
			}
			if text := strings.Join(all, "\n"); !strings.Contains(text, tt.problem) || !strings.Contains(text, intentionsFrom(tt.entries[0].Name)) {
				t.Errorf("got the problems\n%s\nwant one with %s", text, tt.problem)
			}
		})
	}
}

func TestIntentionsAreOfServicesByTheirCatalogName(t *testing.T) {
	p := compileIntentions(ruling{entries: ranked(intend("api--shop", action("web--shop", api.IntentionActionAllow)), intend("api", action("web", api.IntentionActionAllow)))})
	d := deciders(t, p, "api", "api.shop", "web", "web.shop", "other")
	for _, tt := range []struct {
		destination, source string
		want                bool
	}{
		{"api.shop", "web.shop", true}, {"api.shop", "web", false}, {"api", "web", true}, {"api", "web.shop", false}, {"other", "web", false},
	} {
		if got := decides(d[tt.destination], tt.source, callVote, nil); got != tt.want {
			t.Errorf("%s to %s: got %v", tt.source, tt.destination, got)
		}
	}
	long := strings.Repeat("a", 63)
	if d := deciders(t, compileIntentions(ruling{entries: ranked(intend(long, action("web", api.IntentionActionAllow)))}), long); !decides(d[long], "web", callVote, nil) {
		t.Error("a service with a long name has no policy")
	}
}

func TestPoliciesThatAreEqualAreTheSame(t *testing.T) {
	entries := ranked(intend("api", action("web", api.IntentionActionAllow)), intend("*", action("*", api.IntentionActionDeny)))
	first := compileIntentions(ruling{entries: entries})
	known := reuse(first.objects, nil)
	entries[0].Sources[0].Action = api.IntentionActionDeny
	second := compileIntentions(ruling{entries: entries})
	reuse(second.objects, known)
	if first.objects[0] == second.objects[0] {
		t.Error("what changed is the same")
	}
	if first.objects[1] != second.objects[1] {
		t.Error("what did not change is another")
	}
}

// watchIntentions follows until the test ends, and returns the newest part.
func watchIntentions(t *testing.T, client *consul.Client) (newest func() intentionsPart) {
	t.Helper()
	var mu sync.Mutex
	var last intentionsPart
	s := New(Config{Client: client, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- s.followIntentions(ctx, func(p intentionsPart) {
			mu.Lock()
			defer mu.Unlock()
			last = p
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func() intentionsPart {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
}

// failing is a test of Go's, or one of rapid's.
type failing interface {
	Helper()
	Fatalf(format string, args ...any)
}

func soon(tb failing, within time.Duration, what string, so func() bool) time.Duration {
	tb.Helper()
	began := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !so() {
		if time.Since(began) > within {
			tb.Fatalf("not so after %v: %s", within, what)
		}
		<-tick.C
	}
	return time.Since(began)
}

func TestIntentionsArriveAtOnce(t *testing.T) {
	agent := consultest.Start(t)
	client := agent.Client(t)
	newest := watchIntentions(t, connected(t, agent))
	soon(t, 10*time.Second, "intentions are known", func() bool { return newest().known })
	var took []time.Duration
	write(t, client, intend("new", action("web", api.IntentionActionAllow)))
	calm := time.NewTicker(1100 * time.Millisecond) // changes in quick succession are damped
	defer calm.Stop()
	for i := range 5 {
		<-calm.C
		name := fmt.Sprintf("api-%d", i)
		began := time.Now()
		write(t, client, intend(name, action("web", api.IntentionActionDeny)))
		soon(t, 5*time.Second, "an intention arrives", func() bool { return len(newest().objects) == i+1 })
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("an intention is there %v after it was written at the median, %v at most", took[len(took)/2], took[len(took)-1])
	if took[len(took)/2] > 200*time.Millisecond {
		t.Errorf("%v at the median, want 200 ms", took[len(took)/2])
	}
}

func TestIntentionsThatAreHiddenKeepWhatWasRead(t *testing.T) {
	r := newIntentionsReader("consul")
	full := ruling{entries: ranked(intend("api", action("web", api.IntentionActionAllow), action("evil", api.IntentionActionDeny)), intend("*", action("*", api.IntentionActionAllow)))}
	if p := r.read(consul.Answer[ruling]{Value: full}); !p.known || p.err != nil {
		t.Fatalf("got %+v", p)
	}
	p := r.read(consul.Answer[ruling]{Value: ruling{entries: full.entries[1:]}, Filtered: true})
	if !p.known || p.err == nil || !strings.Contains(p.err.Error(), `intentions = "read"`) {
		t.Errorf("got known %v, error %v", p.known, p.err)
	}
	if d := deciders(t, p.part, "api")["api"]; decides(d, "evil", callVote, nil) || !decides(d, "web", callVote, nil) {
		t.Error("a denial that is hidden does not hold")
	}
	if p := r.read(consul.Answer[ruling]{Value: full}); p.err != nil {
		t.Errorf("still %v when all is shown again", p.err)
	}
}

func TestIntentionsThatCannotBeReadStay(t *testing.T) {
	agent := consultest.Start(t, consultest.ACLs("a5c0ffee-0000-4000-8000-000000000001"))
	root := agent.Client(t)
	write(t, root, intend("api", action("web", api.IntentionActionAllow)))
	policy, _, err := root.ACL().PolicyCreate(&api.ACLPolicy{Name: "reader", Rules: `service_prefix "" { policy = "read" intentions = "read" }`}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := root.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: policy.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := consul.New(consul.Config{Address: agent.Address(), Token: token.SecretID, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	newest := watchIntentions(t, client)
	allowed := func(source string) bool {
		return decides(deciders(t, newest().part, "api", "web")["api"], source, callVote, nil)
	}
	soon(t, 10*time.Second, "intentions are known", func() bool { return newest().known })
	if !allowed("web") || allowed("other") {
		t.Error("web is not the only one who is allowed")
	}
	if p := newest().problems; len(p) != 1 || !strings.Contains(p[0].Message, "agent:read") {
		t.Errorf("got %v, want a problem: who may not read the agent does not know its default_intention_policy", p)
	}
	policy.Rules = `service_prefix "" { policy = "read" intentions = "deny" }`
	if _, _, err := root.ACL().PolicyUpdate(policy, nil); err != nil {
		t.Fatal(err)
	}
	blind := watchIntentions(t, client)
	soon(t, 10*time.Second, "it is told that intentions cannot be read", func() bool { return blind().err != nil })
	if d := deciders(t, blind().part, "api")["api"]; blind().known || decides(d, "web", callVote, nil) {
		t.Error("who never read intentions lets somebody call")
	}
	agent.Kill(t)
	soon(t, 20*time.Second, "it is told that Consul is gone", func() bool { return newest().err != nil })
	if !newest().known || !allowed("web") {
		t.Error("what was read last did not stay without Consul")
	}
}
