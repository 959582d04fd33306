package snapshot

import (
	"fmt"
	"testing"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// largeWorld has n services with 10 endpoints, and a split for every tenth.
func largeWorld(n int) *world {
	w := newWorld()
	for i := range n {
		s := fmt.Sprint("s", i)
		w.service(s, 0)
		w.serve(s, "v1", 10*i+1, 10*i+2, 10*i+3, 10*i+4, 10*i+5)
		w.serve(s, "v2", 10*i+6, 10*i+7, 10*i+8, 10*i+9, 10*i+10)
		if i%10 == 0 {
			w.routes = append(w.routes, &model.Route{
				Namespace: model.DefaultNamespace, Name: s, Parents: []model.ServiceName{name(s)},
				Rules: []model.Rule{{Backends: []model.Backend{
					{Service: name(s), Version: "v1", Weight: 90},
					{Service: name(s), Version: "v2", Weight: 10},
				}}},
			})
		}
	}
	return w
}

func TestFiveThousandServicesStartWithinTwentySeconds(t *testing.T) {
	services := 5000
	if raceEnabled {
		services = 500 // the bound is for a program without the race detector
	}
	w := largeWorld(services)
	set := w.set()
	var b *Builder
	// The bounds are on the program, not on what else the machine does: it needs
	// two seconds of a processor, and the best of three tries counts.
	took := time.Hour
	for try := 0; try < 3 && took > 20*time.Second; try++ {
		b = builder(t, true)
		begin := time.Now()
		snap, problems := b.Build(t.Context(), set)
		took = time.Since(begin)
		t.Logf("first build: %v", took)
		if len(problems) != 0 || snap.Revision != 1 {
			t.Fatalf("got %+v", problems)
		}
	}
	if took > 20*time.Second {
		t.Errorf("took %v", took)
	}
	for _, u := range b.units {
		for _, m := range u.configuration {
			if !m.judged {
				t.Fatalf("%s %q was not judged", m.kind, m.resource.Name)
			}
		}
	}

	best := time.Hour
	for i := range 5 {
		w.serve("s7", "v1", 80_000+i)
		set := w.set()
		begin := time.Now()
		b.Build(t.Context(), set)
		best = min(best, time.Since(begin))
	}
	t.Logf("build after one endpoint changed: %v", best)
	if best > 250*time.Millisecond {
		t.Errorf("one changed endpoint took %v", best)
	}
}

func BenchmarkStart5000(b *testing.B) {
	for _, judge := range []bool{true, false} {
		b.Run(fmt.Sprintf("judge=%t", judge), func(b *testing.B) {
			set := largeWorld(5000).set()
			b.ReportAllocs()
			for b.Loop() {
				builder := NewBuilder(Config{Judge: judge, Logger: quiet})
				if _, problems := builder.Build(b.Context(), set); len(problems) != 0 {
					b.Fatal(problems)
				}
				builder.Close()
			}
		})
	}
}

func BenchmarkBuild5000(b *testing.B) {
	w := largeWorld(5000)
	same := w.set()
	w.serve("s7", "v1", 80_000)
	endpoint := w.set()
	w.serve("s7", "v1", 71, 72, 73, 74, 75)
	w.service("s7", 9)
	configuration := w.set()
	for _, c := range []struct {
		name    string
		changed *model.Set
	}{{"nothing changes", same}, {"an endpoint changes", endpoint}, {"a service changes", configuration}} {
		b.Run(c.name, func(b *testing.B) {
			builder := builder(b, true)
			builder.Build(b.Context(), same)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				set := c.changed
				if n%2 == 1 {
					set = same
				}
				if _, problems := builder.Build(b.Context(), set); len(problems) != 0 {
					b.Fatal(problems)
				}
			}
		})
	}
}
