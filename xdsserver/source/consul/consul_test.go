package consul

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// returnWithin is how soon after Consul is back its newest state is known.
const returnWithin = 10 * time.Second

// neverEmptied fails for each part that has a service with fewer usable instances than
// it must have.
func neverEmptied(t *testing.T, w *watcher, least map[string]int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, p := range w.parts {
		usable := map[string]int{}
		for _, in := range p.instances {
			if h := in.endpoint.Health; h == model.Healthy || h == model.Lost {
				usable[in.endpoint.Service.Name]++
			}
		}
		for service, n := range least {
			if usable[service] < n {
				t.Errorf("part %d of %d has %d usable instances of %s, want %d: %v, error %v", i, len(w.parts), usable[service], service, n, list(p), p.err)
				return
			}
		}
	}
}

// record has the watcher keep all parts from now on.
func (w *watcher) record() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keep = true
}

func three(t *testing.T, client *api.Client) []string {
	t.Helper()
	for _, id := range []string{"a", "b", "c"} {
		register(t, client, "voting", id, "")
	}
	register(t, client, "emoji", "e", "")
	return []string{"emoji/e", "voting/a", "voting/b", "voting/c"}
}

func TestAnAgentThatIsAwayEmptiesNothing(t *testing.T) {
	agent := consultest.Start(t)
	client := agent.Client(t)
	all := three(t, client)
	w := follow(t, consul.Config{Address: agent.Address()})
	w.wants(t, all...)
	w.record()
	agent.Kill(t)
	w.until(t, "an error", func(p catalogPart) bool { return p.err != nil && strings.Contains(p.err.Error(), agent.Address()) })
	t.Logf("the error: %v", w.last().err)
	away := time.NewTimer(5 * time.Second)
	<-away.C
	if got := list(w.last()); !slices.Equal(got, all) {
		t.Errorf("while it is away: got %v, want %v", got, all)
	}
	agent.Restart(t)
	agent.Ready(t)
	began := time.Now()
	register(t, client, "voting", "d", "")
	w.wants(t, append(slices.Clone(all), "voting/d")...)
	t.Logf("a change is seen %v after Consul's return", time.Since(began))
	if took := time.Since(began); took > returnWithin {
		t.Errorf("current %v after its return, want %v", took, returnWithin)
	}
	neverEmptied(t, w, map[string]int{"voting": 3, "emoji": 1})
}

func TestAXdsserverThatStartsBeforeConsulKnowsNothing(t *testing.T) {
	agent := consultest.Start(t)
	client := agent.Client(t)
	all := three(t, client)
	agent.Kill(t)
	w := follow(t, consul.Config{Address: agent.Address()})
	w.until(t, "an error", func(p catalogPart) bool { return p.err != nil && !p.known })
	w.record()
	agent.Restart(t)
	w.wants(t, all...)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.parts {
		if p.known && len(p.instances) < len(all) {
			t.Errorf("a server that had just started was believed: %v", list(p))
		}
	}
}

func TestASnapshotThatIsRestoredEmptiesNothing(t *testing.T) {
	agent := consultest.Start(t)
	client := agent.Client(t)
	all := three(t, client)
	snapshot, _, err := client.Snapshot().Save(nil)
	if err != nil {
		t.Fatal(err)
	}
	saved, err := io.ReadAll(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	w := follow(t, consul.Config{Address: agent.Address()})
	register(t, client, "voting", "d", "")
	for i := range 50 { // the index goes on, and back
		if _, err := client.KV().Put(&api.KVPair{Key: fmt.Sprint("x/", i)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	register(t, client, "new", "n", "")
	w.wants(t, append(append([]string{"emoji/e", "new/n"}, all[1:]...), "voting/d")...)
	w.record()
	began := time.Now()
	if err := client.Snapshot().Restore(nil, bytes.NewReader(saved)); err != nil {
		t.Fatal(err)
	}
	// One of four goes at once; the only one of a service is held.
	w.wants(t, append([]string{"emoji/e", "new/n?"}, all[1:]...)...)
	t.Logf("the restored state is seen after %v", time.Since(began))
	register(t, client, "voting", "f", "")
	w.wants(t, append(append([]string{"emoji/e", "new/n?"}, all[1:]...), "voting/f")...)
	if took := time.Since(began); took > returnWithin {
		t.Errorf("current %v after the restore, want %v", took, returnWithin)
	}
	w.wants(t, append(slices.Clone(all), "voting/f")...)
	neverEmptied(t, w, map[string]int{"voting": 3, "emoji": 1})
}

// token makes one that may read services and nodes, and returns its accessor, too.
func token(t *testing.T, client *api.Client, policy string) (accessor, secret string) {
	t.Helper()
	got, _, err := client.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLTokenPolicyLink{{Name: policy}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return got.AccessorID, got.SecretID
}

const readAll = `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`

func TestATokenThatIsRevokedEmptiesNothing(t *testing.T) {
	const root = "5a0c3a6e-8e6f-4a53-8c1b-0a9c5b0e7d11"
	agent := consultest.Start(t, consultest.ACLs(root))
	client, err := api.NewClient(&api.Config{Address: agent.Address(), Token: root})
	if err != nil {
		t.Fatal(err)
	}
	all := three(t, client)
	policy, _, err := client.ACL().PolicyCreate(&api.ACLPolicy{Name: "read", Rules: readAll}, nil)
	if err != nil {
		t.Fatal(err)
	}
	accessor, secret := token(t, client, "read")
	file := filepath.Join(t.TempDir(), "token")
	write := func(secret string) {
		if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(secret)
	w := follow(t, consul.Config{Address: agent.Address(), TokenFile: file})
	w.wants(t, all...)
	w.record()
	rules := func(rules string) {
		policy.Rules = rules
		if policy, _, err = client.ACL().PolicyUpdate(policy, nil); err != nil {
			t.Fatal(err)
		}
	}

	// The policy shrinks: answers are empty. Who waits is told by a change alone, and the
	// first one is answered by the old rights.
	want := all
	for i, less := range []string{
		`service_prefix "emoji" { policy = "read" } service "consul" { policy = "read" } node_prefix "" { policy = "read" }`,
		`service_prefix "emoji" { policy = "read" } node_prefix "" { policy = "read" }`,
		`key_prefix "" { policy = "read" }`,
	} {
		rules(less)
		id := string("pqr"[i])
		register(t, client, "voting", id, "")
		register(t, client, "emoji", "e", api.HealthWarning)
		register(t, client, "none", "n", api.HealthCritical)
		w.until(t, "an error", func(p catalogPart) bool { return p.err != nil })
		t.Logf("the error: %v", w.last().err)
		// While it is asked whether they are gone they may be lost, and take calls.
		if got := list(w.last()); strings.ReplaceAll(strings.Join(got, " "), "?", "") != strings.Join(want, " ") {
			t.Errorf("with less of a policy: got %v, want %v", got, want)
		}
		deregister(t, client, "n")
		rules(readAll)
		began := time.Now()
		want = append(slices.Clone(want), "voting/"+id)
		w.wants(t, want...)
		t.Logf("current %v after the policy is back", time.Since(began))
		if took := time.Since(began); took > returnWithin {
			t.Errorf("current %v after the policy is back, want %v", took, returnWithin)
		}
	}

	// The token goes: answers are errors.
	if _, err := client.ACL().TokenDelete(accessor, nil); err != nil {
		t.Fatal(err)
	}
	register(t, client, "voting", "s", "")
	w.until(t, "an error", func(p catalogPart) bool { return p.err != nil })
	t.Logf("the error: %v", w.last().err)
	_, secret = token(t, client, "read")
	write(secret)
	began := time.Now()
	w.wants(t, append(want, "voting/s")...)
	t.Logf("current %v after there is a new token", time.Since(began))
	if took := time.Since(began); took > returnWithin {
		t.Errorf("current %v after there is a new token, want %v", took, returnWithin)
	}
	neverEmptied(t, w, map[string]int{"voting": 3, "emoji": 1})
}

func TestATokenThatSeesNothingIsToldOf(t *testing.T) {
	const root = "5a0c3a6e-8e6f-4a53-8c1b-0a9c5b0e7d11"
	agent := consultest.Start(t, consultest.ACLs(root))
	client := agent.Client(t)
	three(t, client)
	if _, _, err := client.ACL().PolicyCreate(&api.ACLPolicy{Name: "none", Rules: `key_prefix "" { policy = "read" }`}, nil); err != nil {
		t.Fatal(err)
	}
	_, secret := token(t, client, "none")
	w := follow(t, consul.Config{Address: agent.Address(), Token: secret})
	w.until(t, "an error", func(p catalogPart) bool { return p.err != nil && !p.known })
	t.Logf("the error: %v", w.last().err)
}

func TestAnInstanceThatFlapsInConsulIsDamped(t *testing.T) {
	agent := consultest.Start(t)
	client := agent.Client(t)
	three(t, client)
	w := follow(t, consul.Config{Address: agent.Address()})
	w.wants(t, "emoji/e", "voting/a", "voting/b", "voting/c")
	for range flapMost {
		register(t, client, "voting", "c", api.HealthCritical)
		w.wants(t, "emoji/e", "voting/a", "voting/b", "voting/c!")
		register(t, client, "voting", "c", "")
		w.wants(t, "emoji/e", "voting/a", "voting/b", "voting/c")
	}
	deregister(t, client, "c")
	w.wants(t, "emoji/e", "voting/a", "voting/b")
	began := time.Now()
	register(t, client, "voting", "c", "")
	w.wants(t, "emoji/e", "voting/a", "voting/b", "voting/c!")
	wantProblems(t, w.last().problems, "default/voting endpoints[c@n1]: went from Consul, or turned critical, more than 3 times in 1m0s")
	w.wants(t, "emoji/e", "voting/a", "voting/b", "voting/c")
	if took := time.Since(began); took < dampLeast {
		t.Errorf("it is back after %v, want %v", took, dampLeast)
	}
}
