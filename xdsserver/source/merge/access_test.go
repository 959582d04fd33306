package merge

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tulle-mesh/tulle/xdsserver/manifest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

func TestTrustIsThatOfTheFirstWhoKnowsAndStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFake("a"), newFake("b")
		r := start(t, a, b)
		one, other := &model.Trust{Domain: "one"}, &model.Trust{Domain: "other"}
		a.out <- source.Output{Generation: 1}
		b.out <- source.Output{Generation: 1, Trust: one}
		if set := (<-r.sets).set; set.Trust != one {
			t.Errorf("got %+v, want the one that b knows", set.Trust)
		}
		a.out <- source.Output{Generation: 2, Trust: other}
		if set := (<-r.sets).set; set.Trust != other {
			t.Errorf("got %+v, want that of the first", set.Trust)
		}
		if set := r.Preview("a", nil); set.Trust != other {
			t.Errorf("preview: got %+v", set.Trust)
		}
		a.out <- source.Output{Generation: 3}
		b.out <- source.Output{Generation: 2}
		synctest.Wait()
		if set := (<-r.sets).set; set.Trust == nil {
			t.Error("a set without trust, where there was one: nobody could connect")
		}
	})
}

// read is what a file source makes of a document, the first time it sees it.
func read(generation uint64, yaml string) source.Output {
	objects, problems := manifest.Parse("mesh.yaml", []byte(yaml))
	return source.Output{Generation: generation, Objects: objects, Problems: problems}
}

const (
	head   = "apiVersion: tulle/v1\nkind: AccessPolicy\nmetadata: {name: voting}\n"
	good   = head + "spec: {allow: [{from: [web]}]}\n"
	broken = head + "spec: {alow: [{from: [web]}]}\n"
)

func TestPolicyThatCannotBeReadDeniesUntilItCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFake("a"), newFake("b")
		r := start(t, a, b)
		a.out <- read(1, broken)
		b.out <- source.Output{Generation: 1}
		set := (<-r.sets).set
		if len(set.Policies) != 1 || !set.Policies[0].Closed {
			t.Fatalf("got %+v, want one that denies all", set.Policies)
		}
		if got := set.Problems[len(set.Problems)-1].Message; !strings.Contains(got, "every call to voting is denied until it is corrected") {
			t.Errorf("got %q", got)
		}
		a.out <- read(2, good)
		if set := (<-r.sets).set; len(set.Policies) != 1 || set.Policies[0].Closed || !set.Policies[0].Rules.HasAllow {
			t.Errorf("mended: got %+v", set.Policies)
		}
		// The good form goes on being served when the document goes bad again.
		a.out <- read(3, broken)
		if set := (<-r.sets).set; len(set.Policies) != 1 || set.Policies[0].Closed {
			t.Errorf("bad again: got %+v, want the last good form", set.Policies)
		}
	})
}

func TestPolicyThatCannotBeReadGivesWayToOneOfItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFake("a"), newFake("b")
		r := start(t, a, b)
		a.out <- read(1, broken)
		b.out <- read(1, good)
		if set := (<-r.sets).set; len(set.Policies) != 1 || set.Policies[0].Closed {
			t.Errorf("got %+v, want that of the other source", set.Policies)
		}
	})
}
