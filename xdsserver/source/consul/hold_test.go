package consul

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// at is a reading, or only time, and what is to be seen after it.
type at struct {
	after time.Duration // since the beginning
	// has is the instances that pass; one with ! is critical, one with = has the address
	// of the one after the sign, one with * is this xdsserver's own. "-" is no reading.
	has      string
	filtered bool
	fresh    bool
	err      error
	// want is the instances: ! takes no calls, ? is lost.
	want string
	// says is in the problems or the error; empty for neither.
	says string
	// ask is when the leader is asked, since the beginning; zero for never.
	ask time.Duration
}

func TestInstancesThatGoAtOnceAreHeld(t *testing.T) {
	const ten = "a b c d e f g h i j"
	for _, tt := range []struct {
		name  string
		steps []at
	}{
		{"one of several that deregisters goes at once", []at{{has: "a b", want: "a b"}, {has: "a", want: "a"}}},
		{"one of several that turns critical goes at once", []at{{has: "a b", want: "a b"}, {has: "a b!", want: "a b!"}}},
		{"3 of 10 go at once", []at{{has: ten, want: ten}, {has: "d e f g h i j", want: "d e f g h i j"}}},
		{"4 of 10 are held, until the leader says so after 10 s", []at{
			{has: ten, want: ten},
			{after: 1 * time.Second, has: "e f g h i j", want: "a? b? c? d? e f g h i j", says: "4 of 10 instances", ask: 11 * time.Second},
			{after: 10 * time.Second, has: "e f g h i j", want: "a? b? c? d? e f g h i j", says: "4 of 10", ask: 11 * time.Second},
			{after: 11 * time.Second, has: "e f g h i j", fresh: true, want: "e f g h i j"},
		}},
		{"the last one is held", []at{
			{has: "a", want: "a"},
			{after: time.Second, has: "", want: "a?", says: "1 of 1 instances", ask: 11 * time.Second},
			{after: 12 * time.Second, has: "", want: "a?", says: "1 of 1", ask: 11 * time.Second},
			{after: 13 * time.Second, has: "", fresh: true, want: ""},
		}},
		{"the last one that turns critical is held, and takes no calls then", []at{
			{has: "a b!", want: "a b!"},
			{has: "a! b!", want: "a? b!", says: "1 of 1", ask: 10 * time.Second},
			{after: 10 * time.Second, has: "a! b!", fresh: true, want: "a! b!"},
		}},
		{"who is there under another name is not held", []at{
			{has: "a b", want: "a b"},
			{has: "a! b! c=a d=b", want: "a! b! c d"},
		}},
		{"who comes back is held no more", []at{
			{has: "a b c", want: "a b c"},
			{has: "", want: "a? b? c?", says: "3 of 3", ask: 10 * time.Second},
			{after: 2 * time.Second, has: "b", want: "a? b c?", says: "2 of 3", ask: 10 * time.Second},
			{after: 3 * time.Second, has: "a b c", want: "a b c"},
		}},
		{"who goes while others are held counts with them, from then on", []at{
			{has: "a b c d", want: "a b c d"},
			{has: "c d", want: "a? b? c d", says: "2 of 4", ask: 10 * time.Second},
			{after: 5 * time.Second, has: "d", want: "a? b? c? d", says: "3 of 4", ask: 10 * time.Second},
			{after: 10 * time.Second, has: "d", fresh: true, want: "c? d", says: "1 of 2", ask: 15 * time.Second},
			{after: 15 * time.Second, has: "d", fresh: true, want: "d"},
		}},
		{"the leader that cannot answer is asked again", []at{
			{has: "a b", want: "a b"},
			{has: "", want: "a? b?", says: "2 of 2", ask: 10 * time.Second},
			{after: 10 * time.Second, fresh: true, err: errors.New("no leader"), want: "a? b?", says: "2 of 2", ask: 15 * time.Second},
			{after: 15 * time.Second, fresh: true, has: "a b", want: "a b"},
		}},
		{"instances that others replace are gone", []at{
			{has: "a b", want: "a b"},
			{has: "c d", want: "c d"},
		}},
		{"one of which another has the address is not held", []at{
			{has: "a b c", want: "a b c"},
			{has: "d=a", want: "b? c? d", says: "2 of 3", ask: 10 * time.Second},
		}},
		{"what this xdsserver has itself counts, and is not shown", []at{
			{has: "a x*", want: "a"},
			{has: "x*", want: ""},
		}},
		{"an error keeps everything, and an answer ends it", []at{
			{has: "a b", want: "a b"},
			{err: errors.New("consul is away"), want: "a b", says: "consul is away"},
			{has: "a b", want: "a b"},
		}},
		{"a service that has none at first has none", []at{{has: "", want: ""}, {has: "a!", want: "a!"}, {has: "", want: ""}}},
		{"ACLs that begin to hide one keep it, and the leader is asked", []at{
			{has: "a b c d e", want: "a b c d e"},
			{has: "a b c d", filtered: true, want: "a b c d e", says: "consul's ACLs hide", ask: 5 * time.Second},
			{after: time.Second, has: "a b! c d", filtered: true, want: "a b! c d e", says: "1 stay as they were", ask: 5 * time.Second},
			{after: 5 * time.Second, has: "a b c d", filtered: true, fresh: true, want: "a b c d e", says: "hide", ask: 10 * time.Second},
			{after: 10 * time.Second, has: "a b c d e", fresh: true, want: "a b c d e"},
		}},
		{"ACLs that hide some from the beginning let one go, and all never", []at{
			{has: "a b", filtered: true, want: "a b"},
			{has: "a", filtered: true, want: "a"},
			{has: "", filtered: true, want: "a", says: "hide", ask: 5 * time.Second},
			{after: time.Hour, has: "", filtered: true, fresh: true, want: "a", says: "hide", ask: time.Hour + 5*time.Second},
			{after: 2 * time.Hour, has: "", fresh: true, want: "a?", says: "1 of 1", ask: 2*time.Hour + 10*time.Second},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { run(t, tt.steps) })
	}
}

func run(t *testing.T, steps []at) {
	t.Helper()
	began := time.Now()
	s := newService("voting", "r1")
	for i, step := range steps {
		now := began.Add(step.after)
		if step.has != "-" {
			s.take(reading{entries: entries(step.has), filtered: step.filtered, fresh: step.fresh, err: step.err}, now)
		}
		v := s.view(now)
		if got := shown(v); got != step.want {
			t.Errorf("step %d: got %q, want %q", i, got, step.want)
		}
		said := fmt.Sprint(v.err)
		for _, p := range v.problems {
			said += "\n" + p.Message
		}
		if !strings.Contains(said, step.says) || step.says == "" && said != "<nil>" {
			t.Errorf("step %d: it says %s, want %q", i, said, step.says)
		}
		want := time.Time{}
		if step.ask > 0 {
			want = began.Add(step.ask)
		}
		if got := s.askAt(); !got.Equal(want) {
			t.Errorf("step %d: the leader is asked after %v, want %v", i, got.Sub(began), step.ask)
		}
	}
}

// What an xdsserver registered before it was started again is lost, until it goes; what it
// registers from then on it knows by itself.
func TestWhatAnXdsserverLeftInConsulIsLost(t *testing.T) {
	now := time.Now()
	s := newService("voting", "r1")
	for i, step := range []struct{ has, want string }{
		{"a b* c!*", "b? c!"},
		{"a b* c* d*", "b? c? d"},
		{"a b!* c* d*", "b! c? d"},
		{"a c* d!*", "c? d!"},
		{"a d*", "d"},
		{"a c* d*", "c d"},
	} {
		s.take(reading{entries: entries(step.has)}, now)
		if got := words(s.view(now).own); got != step.want {
			t.Errorf("step %d: got %q, want %q", i, got, step.want)
		}
	}
}

func entries(has string) []*api.ServiceEntry {
	var all []*api.ServiceEntry
	for word := range strings.FieldsSeq(has) {
		id, address, _ := strings.Cut(word, "=")
		id, own := strings.CutSuffix(id, "*")
		id, critical := strings.CutSuffix(id, "!")
		if address == "" {
			address = id
		}
		e := entry(id, on("n", fmt.Sprintf("10.0.0.%d", address[0])))
		if own {
			e.Service.Meta = map[string]string{consul.MetaOwner: "r1", consul.MetaInstance: id}
		}
		if critical {
			checked(api.HealthCritical)(e)
		}
		all = append(all, e)
	}
	return all
}

func shown(v *view) string { return words(v.instances) }

func words(instances []instance) string {
	words := make([]string, 0, len(instances))
	for _, in := range instances {
		word, _, _ := strings.Cut(in.endpoint.Instance, "@")
		words = append(words, word+map[model.Health]string{model.Healthy: "", model.NotServing: "!", model.Lost: "?"}[in.endpoint.Health])
	}
	return strings.Join(words, " ")
}

func TestSinceIsWhenAnInstanceChanged(t *testing.T) {
	began := time.Now()
	s := newService("voting", "r1")
	for i, step := range []struct {
		has  string
		want []time.Duration // of a, b
	}{
		{"a b", []time.Duration{0, 0}},
		{"a b", []time.Duration{0, 0}},
		{"a! b", []time.Duration{2, 0}},
		{"a! b=c", []time.Duration{2, 3}},
		{"a b=c", []time.Duration{4, 3}},
	} {
		now := began.Add(time.Duration(i))
		s.take(reading{entries: entries(step.has)}, now)
		var got []time.Duration
		for _, in := range s.view(now).instances {
			got = append(got, in.endpoint.Since.Sub(began))
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("step %d: got %v, want %v", i, got, step.want)
		}
	}
}

func TestAViewChangesWithWhatSomebodyAsksAbout(t *testing.T) {
	now := time.Now()
	s := newService("voting", "r1")
	look := func(change func(e *api.ServiceEntry)) *view {
		s.take(reading{entries: []*api.ServiceEntry{entry("a", checked(api.HealthPassing), change)}}, now)
		return s.view(now)
	}
	before := look(func(*api.ServiceEntry) {})
	for name, tt := range map[string]struct {
		change func(e *api.ServiceEntry)
		same   bool
	}{
		"nothing":              {func(*api.ServiceEntry) {}, true},
		"the output of checks": {func(e *api.ServiceEntry) { e.Checks[1].Output = "TTL expires in 3 s"; e.Checks[1].ModifyIndex = 7 }, true},
		"metadata":             {meta("canary", "true"), false},
		"the node's metadata":  {func(e *api.ServiceEntry) { e.Node.Meta = map[string]string{"rack": "1"} }, false},
		"a warning":            {checked(api.HealthWarning), false},
		"another address":      {on("n1", "10.0.0.9"), false},
	} {
		if got := look(tt.change).same(before); got != tt.same {
			t.Errorf("%s: got the same: %v, want %v", name, got, tt.same)
		}
	}
}
