package snapshot

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func TestBuildPublishesEveryServiceJudged(t *testing.T) {
	b := builder(t, true)
	w := newWorld("web", "voting")
	w.serve("voting", "v2", 3)
	w.route("voting", "voting/v1", "voting/v2")
	snap, _ := w.build(t, b, 0)
	if snap.Revision != 1 || snap.Generations["file"] != 1 || snap.Built.IsZero() {
		t.Errorf("got revision %d, generations %v, built %v", snap.Revision, snap.Generations, snap.Built)
	}
	message(t, snap, resource.ListenerType, "web", &listenerv3.Listener{})
	for cluster, want := range map[string]string{"voting": "v1-1 v1-2 v2-3", "voting/v2": "v2-3", "web": "v1-1 v1-2"} {
		if got := instances(t, snap, cluster); got != want {
			t.Errorf("%s: got endpoints %q, want %q", cluster, got, want)
		}
	}
	for _, u := range b.units {
		for _, m := range u.configuration {
			if !m.judged {
				t.Errorf("%s %q was not judged", m.kind, m.resource.Name)
			}
		}
	}
}

func TestSameSetIsTheSameBytesInEveryProcess(t *testing.T) {
	w := newWorld("web", "voting", "emoji")
	w.serve("voting", "v2", 3, 4, 5)
	w.route("voting", "voting/v1", "voting/v2")
	w.route("web", "web", "emoji", "voting")
	first, _ := w.build(t, builder(t, false), 0)
	for range 100 {
		again, _ := w.build(t, builder(t, false), 0)
		wantSame(t, first, again)
	}
}

// wantSame checks that two snapshots serve the same bytes.
func wantSame(t *testing.T, a, b *Snapshot) {
	t.Helper()
	for typeURL := range a.Types {
		if len(a.Types[typeURL]) != len(b.Types[typeURL]) {
			t.Fatalf("got %d of %s, want %d", len(b.Types[typeURL]), kindOf(typeURL), len(a.Types[typeURL]))
		}
		for name, r := range a.Types[typeURL] {
			o := b.Resource(typeURL, name)
			if o == nil || r.Version != o.Version || string(r.Any) != string(o.Any) {
				t.Fatalf("%s %q differs", kindOf(typeURL), name)
			}
		}
	}
}

func TestUnchangedResourcesAreTheSameValues(t *testing.T) {
	b := builder(t, false)
	w := newWorld("web", "voting")
	before, _ := w.build(t, b, 0)
	w.serve("voting", "v1", 1)
	after, _ := w.build(t, b, 0)
	if after.Revision != 2 {
		t.Errorf("revision: got %d", after.Revision)
	}
	for typeURL, resources := range before.Types {
		for name, r := range resources {
			changed := typeURL == resource.EndpointsType && name == "voting"
			if same := after.Resource(typeURL, name) == r; same == changed {
				t.Errorf("%s %q: the same value: %t", kindOf(typeURL), name, same)
			}
		}
	}
	// Equal values that are others, as after a source read its file again.
	w.service("web", 0)
	w.endpoints["web"] = append([]model.Endpoint(nil), w.endpoints["web"]...)
	again, _ := w.build(t, b, 0)
	for _, typeURL := range []string{resource.ListenerType, resource.EndpointsType} {
		if again.Resource(typeURL, "web") != after.Resource(typeURL, "web") {
			t.Errorf("%s %q is another value", kindOf(typeURL), "web")
		}
	}
}

func TestManyChangesLeadWhereOneLeads(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 11))
	names := []string{"a", "b", "c", "d", "e", "f"}
	b := builder(t, false)
	w := newWorld(names...)
	for range 400 {
		s := names[r.IntN(len(names))]
		switch r.IntN(6) {
		case 0:
			w.service(s, uint32(r.IntN(3)))
		case 1:
			w.serve(s, fmt.Sprint("v", r.IntN(3)), r.Perm(5)[:r.IntN(5)]...)
		case 2:
			w.route(s)
		case 3:
			w.protect(s, names[:r.IntN(len(names))]...)
		default:
			w.route(s, fmt.Sprintf("%s/v%d", names[r.IntN(len(names))], r.IntN(3)), names[r.IntN(len(names))])
		}
		for _, endpoints := range w.endpoints {
			for i := range endpoints { // one address for each
				endpoints[i].Addresses = []string{fmt.Sprintf("10.0.%s.%d:80", strings.TrimPrefix(endpoints[i].Version, "v"), i+1)}
			}
		}
		got, _ := w.build(t, b, 0)
		want, _ := w.build(t, builder(t, false), 0)
		without := &Snapshot{Types: map[string]map[string]*Resource{}}
		for typeURL, resources := range got.Types {
			without.Types[typeURL] = map[string]*Resource{}
			for name, res := range resources {
				if b.vanished[name] == nil || typeURL != resource.EndpointsType {
					without.Types[typeURL][name] = res
				}
			}
		}
		wantSame(t, want, without)
	}
}

func TestCheckTellsWhatBuildWouldAndChangesNothing(t *testing.T) {
	b := builder(t, true)
	w := newWorld("web", "voting")
	before, _ := w.build(t, b, 0)
	bad := false
	spoil(b, resource.ClusterType, "voting", func() proto.Message {
		if bad {
			return badCluster("voting")
		}
		return nil
	})
	bad = true
	w.service("voting", 7)
	problems := b.Check(t.Context(), w.set())
	if len(problems) != 1 || problems[0].Object.Name != "voting" || problems[0].Warning {
		t.Errorf("got %+v", problems)
	}
	bad = false
	after, _ := newWorldFrom(w, "voting").build(t, b, 0)
	if after.Revision != before.Revision+1 {
		t.Errorf("revision: got %d after %d", after.Revision, before.Revision)
	}
	wantSame(t, before, after)
}

// newWorldFrom is w with a service as it was in the beginning.
func newWorldFrom(w *world, s string) *world {
	w.service(s, 0)
	return w
}

func TestJudgeThatHangsIsAWarningAndIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBuilder(Config{Judge: true, Budget: -1, Logger: quiet}) // over before it begins
		defer b.Close()
		w := newWorld("web")
		snap, problems := w.build(t, b, 1)
		if p := problems[0]; !p.Warning || !strings.Contains(p.Message, "no verdict on 5 resources") {
			t.Errorf("got %+v", p)
		}
		if snap.Resource(resource.ListenerType, "web") == nil {
			t.Error("nothing is published")
		}
		b.jury.budget = time.Minute
		begin := time.Now()
		w.build(t, b, 1) // not tried: it would hold up each change
		if took := time.Since(begin); took != 0 {
			t.Errorf("the next build took %v", took)
		}
		time.Sleep(judgeAgain)
		w.build(t, b, 0)
	})
}

func TestBuildWhoseContextEndedPublishesAndJudgesLater(t *testing.T) {
	b := builder(t, true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	snap, problems := b.Build(ctx, newWorld("web").set())
	if len(problems) != 1 || !problems[0].Warning || snap.Resource(resource.ListenerType, "web") == nil {
		t.Errorf("got %+v", problems)
	}
	newWorld("web").build(t, b, 0)
}

func TestBuildAfterCloseGoesWithoutTheJudge(t *testing.T) {
	b := builder(t, true)
	w := newWorld("web")
	w.build(t, b, 0)
	b.Close()
	b.Close()
	w.service("web", 3)
	snap, _ := w.build(t, b, 0)
	if got := maxRequests(t, snap, "web"); got != 3 {
		t.Errorf("got %d", got)
	}
}

func TestBuilderNeedsNoJudgeUntilThereIsSomethingToJudge(t *testing.T) {
	b := builder(t, true)
	if snap, problems := b.Build(t.Context(), &model.Set{}); len(problems) != 0 || snap.Revision != 1 {
		t.Errorf("got %+v, %+v", snap, problems)
	}
	if b.jury.judge != nil {
		t.Error("a judge runs")
	}
}

func TestVerdictsOnWhatIsGoneAreForgotten(t *testing.T) {
	j := jury{verdicts: map[verdictKey]string{}}
	for i := range 10 * batch {
		j.verdicts[verdictKey{clusters, fmt.Sprint(i)}] = ""
	}
	j.forget([]*made{{kind: clusters, resource: &Resource{Version: "7"}}})
	if _, kept := j.verdicts[verdictKey{clusters, "7"}]; !kept || len(j.verdicts) != 1 {
		t.Errorf("got %d verdicts, the one in use: %t", len(j.verdicts), kept)
	}
}

func TestBuilderIsSafeForConcurrentUse(t *testing.T) {
	b := builder(t, true)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			w := newWorld("web", "voting")
			for n := range 5 {
				w.service("web", uint32(10*i+n))
				b.Build(t.Context(), w.set())
				b.Check(t.Context(), w.set())
			}
			b.Close()
		})
	}
	wg.Wait()
}
