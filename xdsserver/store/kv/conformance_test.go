package kv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

const votingYAML = "apiVersion: tulle/v1\nkind: Service\nmetadata:\n  name: voting\n"

// told is a history as "revision by: name before>after, ..." lines.
func told(s keeper) []string {
	var out []string
	for _, r := range s.History() {
		words := make([]string, 0, len(r.Changes))
		for _, c := range r.Changes {
			words = append(words, fmt.Sprintf("%s %s>%s", c.Ref.Name, c.Before, c.After))
		}
		out = append(out, fmt.Sprintf("%d %s: %s", r.Revision, r.By, strings.Join(words, ", ")))
	}
	return out
}

// lived makes four revisions.
func lived(t *testing.T, s keeper) {
	t.Helper()
	for i, a := range []struct {
		by    string
		pairs []string
	}{
		{"ann", []string{"voting", "v1", "emoji", "e1"}},
		{"bob", []string{"voting", "v2", "web", "w1"}},
		{"ann", []string{"emoji", ""}},
		{"eve", []string{"emoji", "e2", "voting", ""}},
	} {
		revision, err := s.Apply(t.Context(), changes(a.pairs...), store.Intent{By: a.by, IfRevision: uint64(i)})
		if err != nil || revision != uint64(i)+1 {
			t.Fatalf("got %d, %v, want %d", revision, err, i+1)
		}
	}
}

// behaviours are what the stores have in common.
var behaviours = []struct {
	name string
	of   func(t *testing.T, s keeper)
}{
	{"a new store is empty, at revision zero", func(t *testing.T, s keeper) {
		objects, revision := s.Objects()
		if len(objects) != 0 || revision != 0 || s.Revision() != 0 || len(s.History()) != 0 || s.Status().Problem != "" {
			t.Errorf("got %v at %d, %v, %+v", objects, revision, s.History(), s.Status())
		}
	}},
	{"objects are in order, with the revision that changed them", func(t *testing.T, s keeper) {
		lived(t, s)
		objects, revision := s.Objects()
		if dump(s) != "emoji=e2 web=w1" || revision != 4 || objects[0].Revision != 4 || objects[1].Revision != 2 || objects[0].Changed.IsZero() {
			t.Errorf("got %+v at %d", objects, revision)
		}
	}},
	{"what changes nothing keeps the revision", func(t *testing.T, s keeper) {
		lived(t, s)
		if got := apply(t, s, "web", "w1", "voting", ""); got != 4 || len(s.History()) != 4 {
			t.Errorf("got %d with %d in the history", got, len(s.History()))
		}
		if got := apply(t, s, "web", "w2", "emoji", "e2"); got != 5 || len(s.History()[0].Changes) != 1 {
			t.Errorf("got %d with %+v", got, s.History()[0])
		}
	}},
	{"of two changes for one object the last counts", func(t *testing.T, s keeper) {
		apply(t, s, "voting", "v1", "voting", "", "voting", "v2", "web", "w1", "web", "")
		if got := dump(s); got != "voting=v2" {
			t.Errorf("got %q", got)
		}
	}},
	{"all changes are made or none", func(t *testing.T, s keeper) {
		lived(t, s)
		for _, bad := range []store.Change{{Ref: service("a/b"), YAML: []byte("x")}, {Ref: service("")}, {Ref: service("a"), YAML: []byte{0xff}}} {
			revision, err := s.Apply(t.Context(), append(changes("web", "w2"), bad), store.Intent{})
			if err == nil || revision != 4 || dump(s) != "emoji=e2 web=w1" || s.Status().Problem != "" {
				t.Errorf("%v: got %d, %v, %q", bad.Ref, revision, err, dump(s))
			}
		}
	}},
	{"another revision than the intent's is a conflict", func(t *testing.T, s keeper) {
		lived(t, s)
		for _, want := range []uint64{3, 5, 1 << 60} {
			for _, pairs := range [][]string{{"web", "w2"}, {"web", "w1"}} {
				_, err := s.Apply(t.Context(), changes(pairs...), store.Intent{IfRevision: want})
				if conflict, ok := errors.AsType[*store.ConflictError](err); !ok || conflict.Want != want || conflict.Have != 4 {
					t.Errorf("for %d: got %v", want, err)
				}
			}
		}
		if got, err := s.Apply(t.Context(), changes("web", "w1"), store.Intent{IfRevision: 4}); got != 4 || err != nil {
			t.Errorf("nothing for the right one: got %d, %v", got, err)
		}
	}},
	{"history says who changed what", func(t *testing.T, s keeper) {
		lived(t, s)
		want := []string{"4 eve: emoji >e2, voting v2>", "3 ann: emoji e1>", "2 bob: voting v1>v2, web >w1", "1 ann: emoji >e1, voting >v1"}
		if diff := cmp.Diff(want, told(s)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}},
	{"who made a change is cut", func(t *testing.T, s keeper) {
		if _, err := s.Apply(t.Context(), changes("web", "w1"), store.Intent{By: strings.Repeat("ä", 300)}); err != nil {
			t.Fatal(err)
		}
		if got := s.History()[0].By; got != strings.Repeat("ä", 100) {
			t.Errorf("got %q", got)
		}
	}},
	{"objects go back to any revision, and forth", func(t *testing.T, s keeper) {
		lived(t, s)
		at := []string{"", "emoji=e1 voting=v1", "emoji=e1 voting=v2 web=w1", "voting=v2 web=w1", "emoji=e2 web=w1"}
		for _, revision := range []uint64{0, 4, 1, 2, 3} {
			back, from, ok := s.Back(revision)
			if !ok || from != s.Revision() {
				t.Fatalf("to %d: got %v from %d", revision, ok, from)
			}
			if _, err := s.Apply(t.Context(), back, store.Intent{IfRevision: from}); err != nil || dump(s) != at[revision] {
				t.Errorf("to %d: got %q, %v", revision, dump(s), err)
			}
		}
		if _, _, ok := s.Back(s.Revision() + 1); ok {
			t.Error("it goes back to a revision that was never there")
		}
	}},
	{"a source emits at once and after each change", func(t *testing.T, s keeper) {
		o := run(t, s)
		for _, yaml := range []string{votingYAML, ""} {
			generation := s.Generation(apply(t, s, "voting", yaml))
			until(t, "the generation is emitted", func() bool { return o.get().Generation >= generation })
			if got := o.get(); got.Generation != generation || len(got.Objects) != strings.Count(yaml, "Service") || got.Err != nil || len(got.Problems) != 0 {
				t.Errorf("got %+v", got)
			}
		}
	}},
	{"an object that cannot be read is a problem", func(t *testing.T, s keeper) {
		apply(t, s, "emoji", "kind: nonsense\n", "voting", votingYAML)
		o := run(t, s)
		until(t, "it is emitted", func() bool { return o.get().Generation == 1 })
		if got := o.get(); len(got.Objects) != 1 || len(got.Problems) == 0 || got.Problems[0].Object.Name == "" {
			t.Errorf("got %+v", got)
		}
	}},
	{"a caller who has gone changes nothing", func(t *testing.T, s keeper) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Apply(ctx, changes("web", "w1"), store.Intent{}); !errors.Is(err, context.Canceled) || s.Revision() != 0 {
			t.Errorf("got %v at %d", err, s.Revision())
		}
	}},
	{"tokens are made, changed and removed", func(t *testing.T, s keeper) {
		put := func(record string) func([]byte) ([]byte, error) {
			return func([]byte) ([]byte, error) { return []byte(record), nil }
		}
		gone := func([]byte) ([]byte, error) { return nil, nil }
		no := errors.New("no")
		for _, step := range []struct {
			id     string
			change func([]byte) ([]byte, error)
			want   string
			err    error
		}{
			{"a", put("one"), "a=one", nil},
			{"a", put("one"), "a=one", nil},
			{"b", func(old []byte) ([]byte, error) { return fmt.Appendf(nil, "%v", old == nil), nil }, "a=one b=true", nil},
			{"a", func(old []byte) ([]byte, error) { return append(slices.Clip(old), '!'), nil }, "a=one! b=true", nil},
			{"a", func([]byte) ([]byte, error) { return nil, no }, "a=one! b=true", no},
			{"a", gone, "b=true", nil},
			{"a", gone, "b=true", nil},
		} {
			if err := s.UpdateToken(step.id, step.change); !errors.Is(err, step.err) {
				t.Errorf("%s: got %v, want %v", step.want, err, step.err)
			}
			all, err := s.Tokens()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, id := range []string{"a", "b"} {
				if record, ok := all[id]; ok {
					got = append(got, id+"="+string(record))
				}
			}
			if strings.Join(got, " ") != step.want {
				t.Errorf("got %v, want %s", got, step.want)
			}
		}
		for _, id := range []string{"", strings.Repeat("i", 65)} {
			if err := s.UpdateToken(id, put("x")); err == nil {
				t.Errorf("id %q: no error", id)
			}
		}
		if err := s.UpdateToken("a", put(strings.Repeat("x", 1<<20+1))); err == nil || !strings.Contains(err.Error(), "are the most") {
			t.Errorf("a large one: got %v", err)
		}
		if s.Revision() != 0 {
			t.Error("tokens are no objects")
		}
	}},
}

func TestBothStoresBehaveAlike(t *testing.T) {
	t.Run("on disk", func(t *testing.T) {
		for _, b := range behaviours {
			t.Run(b.name, func(t *testing.T) {
				s, err := store.Open(store.Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = s.Close() })
				b.of(t, s)
			})
		}
	})
	t.Run("in consul", func(t *testing.T) {
		agent := consultest.Start(t)
		for i, b := range behaviours {
			t.Run(b.name, func(t *testing.T) {
				s, prefix := open(t, agent, fmt.Sprint("conform", i), ""), fmt.Sprint("conform", i)
				b.of(t, s)
				// Whoever comes later sees the same.
				again := open(t, agent, prefix, "")
				got, _ := again.Objects()
				want, _ := s.Objects()
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("another store (-this +that):\n%s", diff)
				}
				if diff := cmp.Diff(s.History(), again.History()); diff != "" || s.Revision() != again.Revision() {
					t.Errorf("history of another store (-this +that):\n%s", diff)
				}
			})
		}
	})
}
