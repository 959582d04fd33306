package consul

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"google.golang.org/grpc/metadata"
	"pgregory.net/rapid"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
)

var (
	poolServices = []string{"api", "cart", "pay", "web"}
	poolMethods  = []string{callVote, callCount, "/a.Admin/Reset", "/b.Voting/Vote", "/odd-1/x"}
	poolValues   = []string{"a", "b", "ab", "A", "b,a", ""}
)

// replace has Consul hold these intentions alone, and returns what is read of them.
func replace(rt *rapid.T, client *consul.Client, entries map[string]*api.ServiceIntentionsConfigEntry) ruling {
	for _, name := range append(slices.Clone(poolServices), wildcard) {
		var err error
		if e := entries[name]; e != nil {
			_, _, err = client.API().ConfigEntries().Set(e, nil)
		} else {
			_, err = client.API().ConfigEntries().Delete(api.ServiceIntentions, name, nil)
		}
		if err != nil {
			rt.Fatal(err)
		}
	}
	r, _, err := fetchIntentions(client, (&api.QueryOptions{RequireConsistent: true}).WithContext(rt.Context()))
	if err != nil {
		rt.Fatal(err)
	}
	if r.doubt != nil || len(r.entries) != len(entries) {
		rt.Fatalf("got %d entries, %v, want %d", len(r.entries), r.doubt, len(entries))
	}
	return r
}

// drawEntries are intentions of some destinations, each with some sources.
func drawEntries(rt *rapid.T, source func(rt *rapid.T, destination, name string) *api.SourceIntention) map[string]*api.ServiceIntentionsConfigEntry {
	all := append(slices.Clone(poolServices), wildcard)
	out := map[string]*api.ServiceIntentionsConfigEntry{}
	for _, destination := range rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, 4, rapid.ID).Draw(rt, "destinations") {
		e := intend(destination)
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(all), 1, 4, rapid.ID).Draw(rt, "sources of "+destination) {
			e.Sources = append(e.Sources, source(rt, destination, name))
		}
		out[destination] = e
	}
	return out
}

func drawAction(rt *rapid.T) api.IntentionAction {
	return rapid.SampledFrom([]api.IntentionAction{api.IntentionActionAllow, api.IntentionActionDeny}).Draw(rt, "action")
}

// pairChecked is what Consul's servers say of a pair. They know nothing of the agent's
// default_intention_policy.
func pairChecked(tb testing.TB, client *api.Client, source, destination string) bool {
	tb.Helper()
	allowed, _, err := client.Connect().IntentionCheck(&api.IntentionCheck{Source: source, Destination: destination}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return allowed
}

// pairAuthorized is what an agent says to who would enforce it. It remembers intentions, and
// hears of others a little later.
func pairAuthorized(tb testing.TB, client *api.Client, source, destination string) bool {
	tb.Helper()
	answer, err := client.Agent().ConnectAuthorize(&api.AgentAuthorizeParams{
		Target: destination, ClientCertSerial: "01",
		ClientCertURI: "spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/" + source,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return answer.Authorized
}

// TestIntentionsDecideAsConsulDoes holds every pair of caller and destination against
// the answer of a real Consul, by each of its defaults.
func TestIntentionsDecideAsConsulDoes(t *testing.T) {
	acls := consultest.ACLs("a5c0ffee-0000-4000-8000-000000000002")
	for _, tt := range []struct {
		name    string
		options []consultest.Option
		oracle  func(tb testing.TB, client *api.Client, source, destination string) bool
		allow   bool
	}{
		{"without ACLs", nil, pairChecked, true},
		{"with ACLs that deny", []consultest.Option{acls}, pairChecked, false},
		{"without ACLs, and intentions deny", []consultest.Option{consultest.With("default_intention_policy", "deny")}, pairAuthorized, false},
		{"with ACLs that deny, and intentions allow", []consultest.Option{acls, consultest.With("default_intention_policy", "allow")}, pairAuthorized, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			agent := consultest.Start(t, tt.options...)
			client, theirs := connected(t, agent), agent.Client(t)
			write(t, theirs, intend("api", action("web", api.IntentionActionAllow)))
			pairs, allowed := 0, 0
			rapid.Check(t, func(rt *rapid.T) {
				r := replace(rt, client, drawEntries(rt, func(rt *rapid.T, _, name string) *api.SourceIntention { return action(name, drawAction(rt)) }))
				if r.allow != tt.allow {
					rt.Fatalf("the default is said to allow: %v", r.allow)
				}
				d := deciders(t, compileIntentions(r), append(poolServices, "new")...)
				for _, destination := range append(poolServices, "new") {
					for _, source := range append(poolServices, "new") {
						got := decides(d[destination], source, callVote, nil)
						soon(rt, 5*time.Second, fmt.Sprintf("Consul says %v of %s to %s", got, source, destination), func() bool {
							return tt.oracle(t, theirs, source, destination) == got
						})
						if pairs++; got {
							allowed++
						}
					}
				}
			})
			t.Logf("%d pairs, %d of them allowed", pairs, allowed)
		})
	}
}

func drawPermission(rt *rapid.T) *api.IntentionPermission {
	h := &api.IntentionHTTPPermission{}
	switch rapid.IntRange(0, 5).Draw(rt, "path") {
	case 0:
		h.PathExact = rapid.SampledFrom(append(poolMethods, "/health", "/a.Voting/*")).Draw(rt, "exact")
	case 1:
		h.PathPrefix = rapid.SampledFrom([]string{"/", "/a.Voting/", "/a.", "/a.Voting/V", "/odd-1/"}).Draw(rt, "prefix")
	case 2:
		h.PathRegex = rapid.SampledFrom([]string{"/a\\..*", ".*/Vote", "/a", "/(a|b).Voting/[A-Z].*"}).Draw(rt, "regex")
	}
	for range rapid.IntRange(0, 2).Draw(rt, "headers") {
		m := api.IntentionHTTPHeaderPermission{Name: rapid.SampledFrom([]string{"x-a", "X-B"}).Draw(rt, "name"), Invert: rapid.Bool().Draw(rt, "invert")}
		value := rapid.SampledFrom([]string{"a", "b", "B", "ab"}).Draw(rt, "value")
		switch rapid.IntRange(0, 5).Draw(rt, "kind") {
		case 0:
			m.Present = true
		case 1:
			m.Exact = value
		case 2:
			m.Prefix = value
		case 3:
			m.Suffix = value
		case 4:
			m.Contains = value
		default:
			m.Regex = rapid.SampledFrom([]string{"a|b", ".*", ".+", "b,.*"}).Draw(rt, "expression")
		}
		m.IgnoreCase = !m.Present && m.Regex == "" && rapid.Bool().Draw(rt, "ignore case")
		h.Header = append(h.Header, m)
	}
	if rapid.IntRange(0, 4).Draw(rt, "methods") == 0 {
		h.Methods = rapid.SampledFrom([][]string{{"GET"}, {"GET", "POST"}}).Draw(rt, "of HTTP")
	}
	if h.PathExact+h.PathPrefix+h.PathRegex == "" && len(h.Header)+len(h.Methods) == 0 {
		h.PathPrefix = "/"
	}
	return &api.IntentionPermission{Action: drawAction(rt), HTTP: h}
}

// walkIntentions decides a call by walking intentions in order, as Consul's documentation has it.
func walkIntentions(r ruling, source, destination, path string, md metadata.MD) bool {
	var all []*api.SourceIntention
	for _, e := range r.entries {
		if e.Name == destination || e.Name == wildcard {
			all = append(all, e.Sources...)
		}
	}
	slices.SortStableFunc(all, func(a, b *api.SourceIntention) int { return b.Precedence - a.Precedence })
	for _, s := range all {
		if s.Name != source && s.Name != wildcard {
			continue
		}
		for _, p := range s.Permissions {
			if naiveMatch(p.HTTP, path, md) {
				return p.Action == api.IntentionActionAllow
			}
		}
		if len(s.Permissions) > 0 {
			return r.allow
		}
		return s.Action == api.IntentionActionAllow
	}
	return r.allow
}

func naiveMatch(h *api.IntentionHTTPPermission, path string, md metadata.MD) bool {
	whole := func(re, s string) bool { return regexp.MustCompile("^(?:" + re + ")$").MatchString(s) }
	switch {
	case h.PathExact != "" && h.PathExact != path,
		h.PathPrefix != "" && !strings.HasPrefix(path, h.PathPrefix),
		h.PathRegex != "" && !whole(h.PathRegex, path),
		len(h.Methods) > 0 && !slices.Contains(h.Methods, "POST"):
		return false
	}
	for _, m := range h.Header {
		values, there := md[strings.ToLower(m.Name)]
		if m.Present {
			if there == m.Invert {
				return false
			}
			continue
		}
		got := strings.Join(values, ",")
		exact, prefix, suffix, contains := m.Exact, m.Prefix, m.Suffix, m.Contains
		value := got
		if m.IgnoreCase {
			value, exact, prefix = strings.ToLower(got), strings.ToLower(exact), strings.ToLower(prefix)
			suffix, contains = strings.ToLower(suffix), strings.ToLower(contains)
		}
		holds := exact != "" && value == exact || prefix != "" && strings.HasPrefix(value, prefix) ||
			suffix != "" && strings.HasSuffix(value, suffix) || contains != "" && strings.Contains(value, contains) ||
			m.Regex != "" && whole(m.Regex, got)
		if !there || holds == m.Invert {
			return false
		}
	}
	return true
}

// TestPermissionsDecideInOrder holds calls against the walkIntentions walk, by intentions that a
// real Consul took.
func TestPermissionsDecideInOrder(t *testing.T) {
	agent := consultest.Start(t)
	client := connected(t, agent)
	// Permissions are for services that speak a protocol with calls in it.
	write(t, agent.Client(t), &api.ProxyConfigEntry{Kind: api.ProxyDefaults, Name: api.ProxyConfigGlobal, Config: map[string]any{"protocol": "grpc"}})
	write(t, agent.Client(t), intend("api", action("web", api.IntentionActionAllow)))
	calls, seen := 0, map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		r := replace(rt, client, drawEntries(rt, func(rt *rapid.T, destination, name string) *api.SourceIntention {
			if destination == wildcard || rapid.Bool().Draw(rt, "L4") {
				return action(name, drawAction(rt))
			}
			s := permit(name)
			for range rapid.IntRange(1, 4).Draw(rt, "permissions") {
				s.Permissions = append(s.Permissions, drawPermission(rt))
			}
			return s
		}))
		r.allow = rapid.Bool().Draw(rt, "default")
		p := compileIntentions(r)
		if len(p.problems) > 0 {
			rt.Fatal(p.problems)
		}
		d := deciders(t, p, append(poolServices, "new")...)
		for range 150 {
			destination := rapid.SampledFrom(append(poolServices, "new")).Draw(rt, "destination")
			source := rapid.SampledFrom(append(poolServices, "new")).Draw(rt, "source")
			path := rapid.SampledFrom(poolMethods).Draw(rt, "method")
			md := metadata.MD{}
			for range rapid.IntRange(0, 3).Draw(rt, "values") {
				md.Append(rapid.SampledFrom([]string{"x-a", "x-b"}).Draw(rt, "key"), rapid.SampledFrom(poolValues).Draw(rt, "header"))
			}
			got, want := decides(d[destination], source, path, md), walkIntentions(r, source, destination, path, md)
			if got != want {
				rt.Fatalf("%s calls %s of %s with %v: got %v, want %v", source, path, destination, md, got, want)
			}
			calls++
			seen[fmt.Sprint("allowed: ", got)]++
		}
	})
	t.Logf("%d calls, %v", calls, seen)
}
