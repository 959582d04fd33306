package store

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// A State is what a map is, to which the same changes are made.
func TestStateIsWhatAMapWouldBe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, want := new(State), map[string]string{}
		for range rapid.IntRange(0, 20).Draw(t, "applies") {
			var next []Change
			after := maps.Clone(want)
			for range rapid.IntRange(0, 6).Draw(t, "changes") {
				ref := model.Ref{
					Kind: rapid.SampledFrom([]model.Kind{model.KindService, model.KindGRPCRoute}).Draw(t, "kind"), Namespace: rapid.SampledFrom([]string{"a", "a-b"}).Draw(t, "namespace"),
					Name: rapid.SampledFrom([]string{"a", "a.b", "b"}).Draw(t, "name"),
				}
				c := Change{Ref: ref}
				if delete(after, objectKey(ref)); rapid.Bool().Draw(t, "write") {
					c.YAML = []byte(rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "yaml"))
					after[objectKey(ref)] = string(c.YAML)
				}
				next = append(next, c)
			}
			changed := !cmp.Equal(want, after)
			before := s.revision
			var err error
			if s, err = s.Apply(next, "", time.Now()); err != nil {
				t.Fatal(err)
			}
			if grown := s.revision - before; changed != (grown == 1) || grown > 1 {
				t.Fatalf("revision grew by %d with a change: %v", grown, changed)
			}
			got := map[string]string{}
			for _, o := range s.Objects() {
				got[objectKey(o.Ref)] = string(o.YAML)
			}
			if want = after; !cmp.Equal(want, got) || !slices.IsSorted(s.keys) || len(s.keys) != len(s.objects) {
				t.Fatalf("got %v in %v, want %v", got, s.keys, want)
			}
		}
	})
}

func TestStateIsMadeOfSoundObjectsOnly(t *testing.T) {
	good := func(name string) Object { return Object{Ref: service(name), YAML: []byte("x"), Revision: 3} }
	for name, test := range map[string]struct {
		objects []Object
		want    string
	}{
		"in any order":           {[]Object{good("b"), good("a")}, "<nil>"},
		"one is there twice":     {[]Object{good("b"), good("a"), good("b")}, "Service/default/b is there twice"},
		"one is of the future":   {[]Object{{Ref: service("a"), Revision: 4}}, "Service/default/a is of revision 4, which is yet to come at 3"},
		"one is without a name":  {[]Object{{Ref: service("")}}, `key "Service/default/" is not kind/namespace/name`},
		"one has another's name": {[]Object{{Ref: service("a/b")}}, `key "Service/default/a/b" is not kind/namespace/name`},
	} {
		if _, err := NewState(3, test.objects); fmt.Sprint(err) != test.want {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
}
