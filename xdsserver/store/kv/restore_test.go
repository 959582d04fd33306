package kv

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

// token makes a token of Consul's with rules.
func token(t *testing.T, agent *consultest.Agent, rules string) string {
	t.Helper()
	c := agent.Client(t)
	policy, _, err := c.ACL().PolicyCreate(&api.ACLPolicy{Name: "test", Rules: rules}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := c.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLTokenPolicyLink{{ID: policy.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return token.SecretID
}

// save is a snapshot of all of Consul; the function puts it back.
func save(t *testing.T, agent *consultest.Agent) (restore func()) {
	t.Helper()
	snap, _, err := agent.Client(t).Snapshot().Save(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	data, err := io.ReadAll(snap)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := agent.Client(t).Snapshot().Restore(nil, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConsulThatWasPutBackIsFollowed(t *testing.T) {
	agent, cache := consultest.Start(t), filepath.Join(t.TempDir(), "cache")
	s, other := open(t, agent, "back", ""), open(t, agent, "back", "")
	o := run(t, s)
	stopped := open(t, agent, "back", cache) // when Consul is put back
	q := run(t, stopped)
	for i := range 5 {
		apply(t, s, "voting", votingYAML, "web", fmt.Sprint(i))
	}
	restore := save(t, agent)
	for i := range 3 {
		apply(t, s, "web", fmt.Sprint("lost ", i))
	}
	until(t, "all is emitted", func() bool { return o.get().Generation == 8 && q.get().Generation == 8 })
	q.stop()
	restore()

	until(t, "the older revision is served", func() bool { return s.Revision() == 5 })
	until(t, "it is emitted with a word", func() bool {
		return o.get().Generation > 8 && slices.ContainsFunc(o.get().Problems, gone("revisions 6 to 8 are gone"))
	})
	if got := dump(s); !strings.HasSuffix(got, "web=4") || !strings.Contains(s.log.String(), `gone="revisions 6 to 8 are"`) {
		t.Errorf("got %q, log %s", got, s.log)
	}
	// It goes on from there, and who waits for a generation waits for the right one.
	revision := apply(t, s, "web", "again")
	if revision != 6 || s.Generation(revision) <= 8 {
		t.Errorf("got revision %d, generation %d", revision, s.Generation(revision))
	}
	until(t, "the next one is emitted", func() bool { return o.get().Generation == s.Generation(revision) })
	if !slices.IsSorted(o.all) {
		t.Errorf("generations went back: %v", o.all)
	}
	// Who knew nothing of it finds out by its next change.
	if _, err := other.Apply(t.Context(), changes("other", "x"), store.Intent{}); err != nil || other.Revision() != 7 {
		t.Errorf("got %v at %d", err, other.Revision())
	}
	// So does who starts with the cache of what is gone.
	started := open(t, agent, "back", cache)
	p := run(t, started)
	until(t, "a start says so, too", func() bool { return slices.ContainsFunc(p.get().Problems, gone("revision 8 is gone")) })
	if dump(started) != dump(other) {
		t.Errorf("got %q, want %q", dump(started), dump(other))
	}
}

// Where a log was put back and has grown again, a revision is another one than it was.
func TestLogThatGrewAgainIsSeenToBeAnother(t *testing.T) {
	agent := consultest.Start(t)
	s, other := open(t, agent, "again", ""), open(t, agent, "again", "")
	apply(t, s, "web", "1")
	restore := save(t, agent)
	apply(t, s, "web", "2")
	apply(t, s, "web", "3")
	restore()
	for i := range 4 {
		apply(t, other, "web", fmt.Sprint("other ", i))
	}
	if revision, err := s.Apply(t.Context(), changes("emoji", "e"), store.Intent{}); err != nil || revision != 6 {
		t.Fatalf("got %d, %v", revision, err)
	}
	if got := dump(s); got != "emoji=e web=other 3" {
		t.Errorf("got %q", got)
	}
	o := run(t, s)
	until(t, "it says so", func() bool { return slices.ContainsFunc(o.get().Problems, gone("revisions 2 to 3 are gone")) })
	if got := o.get().Generation; got != s.Generation(6) || got < 6 {
		t.Errorf("generation %d, want %d", got, s.Generation(6))
	}
}

func gone(text string) func(model.Problem) bool {
	return func(p model.Problem) bool { return p.Warning && strings.Contains(p.Message, text) }
}
