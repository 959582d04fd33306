package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
)

const management = "5f0c3f5e-8a11-4f0b-9d3a-3d2f6c1d9f00"

// rules are what xdsserver needs of Consul's ACLs (docs/consul.md).
const rules = `
key_prefix "tulle/" { policy = "write" }
session_prefix "" { policy = "write" }
service_prefix "" { policy = "write" }
node_prefix "" { policy = "read" }
agent_prefix "" { policy = "read" }
`

// Whatever happens to Consul, no call fails and no service is emptied; what happened
// meanwhile is known within 10 s of its return.
func TestConsulFails(t *testing.T) {
	if raced {
		t.Skip("measures a load that the race detector would not carry")
	}
	t.Parallel() // it waits more than it works
	servers := consultest.Cluster(t, 3, consultest.ACLs(management),
		// Without it Consul's ACLs, which deny by default, deny calls by default, too.
		consultest.With("default_intention_policy", "allow"))
	client := servers[0].Client(t)
	tokens := filepath.Join(t.TempDir(), "token")
	accessor := grant(t, client, tokens)

	// xdsserver asks a follower: who loses the agent that it asks loses Consul, whatever
	// the others do.
	asked, others := servers[0], servers[1:]
	if asked.Leads(t) {
		asked, others = servers[1], []*consultest.Agent{servers[0], servers[2]}
	}
	flags := []string{"--consul", asked.Address(), "--consul-token-file", tokens}
	here, there := startServer(t, flags...), startServer(t, flags...)
	for range 3 {
		there.echo(t, "voting", "v1")
	}
	here.awaitEndpoints(t, "voting", 3)
	conn := dial(t, here.join(t, mesh.Config{}), "mesh:///voting")
	l := startLoad(t, conn, 100)

	// current starts one more process with the other xdsserver, and waits until this one
	// knows it: by way of Consul.
	known, whole := 3, t
	current := func(t *testing.T) {
		t.Helper()
		began := time.Now()
		there.echo(whole, "voting", "v1") // it outlives this part of the test
		known++
		here.awaitEndpoints(t, "voting", known)
		took := time.Since(began)
		t.Logf("current %v after the return", took.Round(10*time.Millisecond))
		if took > 10*time.Second {
			t.Errorf("current after %v, want 10 s", took)
		}
		if n := l.failed.Load(); n > 0 {
			t.Errorf("%d calls failed by now, the first with: %v", n, *l.first.Load())
		}
	}
	t.Run("leader killed", func(t *testing.T) {
		for _, s := range others {
			if s.Leads(t) {
				s.Kill(t)
				defer func() { s.Restart(t); s.Ready(t) }()
				break
			}
		}
		current(t)
	})
	t.Run("agent restarted", func(t *testing.T) {
		asked.Restart(t)
		asked.Ready(t)
		current(t)
	})
	t.Run("token revoked", func(t *testing.T) {
		if _, err := client.ACL().TokenDelete(accessor, nil); err != nil {
			t.Fatal(err)
		}
		pass(t, 35*time.Second) // agents believe in a token for up to 30 s
		if _, out := here.run(t, "check"); !containsAll(out, "consul") {
			t.Errorf("check does not tell of the token:\n%s", out)
		}
		accessor = grant(t, client, tokens)
		current(t)
	})
	t.Run("restored from a snapshot", func(t *testing.T) {
		snapshot, _, err := client.Snapshot().Save(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer snapshot.Close()
		var saved bytes.Buffer
		if _, err := saved.ReadFrom(snapshot); err != nil {
			t.Fatal(err)
		}
		for range 500 {
			if _, err := client.KV().Put(&api.KVPair{Key: "noise", Value: []byte(time.Now().String())}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := client.Snapshot().Restore(nil, &saved); err != nil {
			t.Fatal(err)
		}
		current(t)
	})
	t.Run("all of it down for a minute", func(t *testing.T) {
		for _, s := range servers {
			s.Kill(t)
		}
		pass(t, time.Minute)
		for _, s := range servers {
			s.Restart(t)
		}
		asked.Ready(t)
		current(t)
	})
	l.mustNotHaveFailed(t)
}

// grant gives xdsserver a token of its own, in a file.
func grant(t *testing.T, client *api.Client, file string) (accessor string) {
	t.Helper()
	name := "xdsserver"
	policies, _, err := client.ACL().PolicyList(nil)
	if err != nil {
		t.Fatal(err)
	}
	made := false
	for _, p := range policies {
		made = made || p.Name == name
	}
	if !made {
		if _, _, err := client.ACL().PolicyCreate(&api.ACLPolicy{Name: name, Rules: rules}, nil); err != nil {
			t.Fatal(err)
		}
	}
	token, _, err := client.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{Name: name}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".new", []byte(token.SecretID+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	return token.AccessorID
}
