package announce

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// run runs an Announcer until stop is called, or the test ends.
func run(t *testing.T, agent *consultest.Agent, owner string) (a *Announcer, stop func()) {
	t.Helper()
	return runWith(t, Config{Owner: owner}, consul.Config{Address: agent.Address()})
}

func runWith(t *testing.T, c Config, of consul.Config) (a *Announcer, stop func()) {
	t.Helper()
	of.Logger = slog.New(slog.DiscardHandler)
	c.Logger = cmp.Or(c.Logger, of.Logger)
	client, err := consul.New(of)
	if err != nil {
		t.Fatal(err)
	}
	c.Client = client
	a, err = New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	ended := false
	stop = func() {
		if !ended {
			ended = true
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			client.Close()
		}
	}
	t.Cleanup(stop)
	return a, stop
}

func endpoint(name, instance string, port int, health model.Health) model.Endpoint {
	return model.Endpoint{
		Service: model.ServiceName{Namespace: model.DefaultNamespace, Name: name}, Instance: instance, Version: "v2", Zone: "north",
		Addresses: []string{fmt.Sprintf("10.0.0.1:%d", port)}, Weight: 3, Health: health, From: model.Registered,
	}
}

// eventually waits until what is so, and returns how long that took.
func eventually(t *testing.T, within time.Duration, what string, so func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not so after %v: %s", within, what)
		}
	}
	return time.Since(began)
}

// passing returns the instances of a service that Consul's users would call.
func passing(t *testing.T, client *api.Client, service string) []*api.ServiceEntry {
	t.Helper()
	found, _, err := client.Health().Service(service, "", true, nil)
	if err != nil {
		return nil
	}
	return found
}

func TestEndpointsAreSeenByConsulsOwnUsers(t *testing.T) {
	agent := consultest.Start(t)
	client := agent.Client(t)
	a, _ := run(t, agent, "one")
	var took []time.Duration
	note := func(d time.Duration) { took = append(took, d) }
	for i := range 10 {
		a.Set([]model.Endpoint{endpoint("voting", "a", 8000+i, model.Healthy)})
		note(eventually(t, 5*time.Second, "it is registered", func() bool {
			found := passing(t, client, "voting")
			return len(found) == 1 && found[0].Service.Port == 8000+i
		}))
		a.Set([]model.Endpoint{endpoint("voting", "a", 8000+i, model.NotServing)})
		note(eventually(t, 5*time.Second, "it does not serve", func() bool { return len(passing(t, client, "voting")) == 0 }))
		a.Set([]model.Endpoint{endpoint("voting", "a", 8000+i, model.Lost)})
		note(eventually(t, 5*time.Second, "it serves", func() bool { return len(passing(t, client, "voting")) == 1 }))
	}
	slices.Sort(took)
	t.Logf("a change is in Consul after %v at the median, %v at most", took[len(took)/2], took[len(took)-1])
	if took[len(took)/2] > 200*time.Millisecond {
		t.Errorf("a change is in Consul after %v at the median, want 200 ms", took[len(took)/2])
	}
	got := passing(t, client, "voting")[0].Service
	want := map[string]string{
		"tulle-owner": "one", "tulle-service": "voting", "tulle-instance": "a", "version": "v2", "zone": "north",
	}
	if fmt.Sprint(got.Meta) != fmt.Sprint(want) || got.Weights.Passing != 3 || got.ID != "tulle/one/voting/a" {
		t.Errorf("got %+v", got)
	}
	a.Set([]model.Endpoint{endpoint("voting", "a", 8009, model.Leaving)})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := a.Flushed(ctx); err != nil {
		t.Fatal(err)
	}
	if left, err := client.Agent().Services(); err != nil || len(left) != 0 {
		t.Errorf("after it left: %v, %v", left, err)
	}
}

func TestNothingForeignIsTouched(t *testing.T) {
	agent := consultest.Start(t)
	client := agent.Client(t)
	for _, r := range []*api.AgentServiceRegistration{
		{ID: "voting", Name: "voting", Port: 1},
		{ID: "tulle/two/voting/a", Name: "voting", Port: 2, Meta: map[string]string{"tulle-owner": "two"}},
		{ID: "tulle/one/voting/unmarked", Name: "voting", Port: 3},
		{ID: "somebody/voting/marked", Name: "voting", Port: 4, Meta: map[string]string{"tulle-owner": "one"}},
	} {
		if err := client.Agent().ServiceRegister(r); err != nil {
			t.Fatal(err)
		}
	}
	a, _ := run(t, agent, "one")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, endpoints := range [][]model.Endpoint{{endpoint("voting", "a", 8000, model.Healthy)}, nil} {
		a.Set(endpoints)
		if err := a.Flushed(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := client.Agent().Services(); err != nil || len(left) != 4 {
		t.Errorf("got %d services, %v, want the 4 foreign ones", len(left), err)
	}
}

func TestAnAgentThatForgotIsToldAgain(t *testing.T) {
	agent := consultest.Start(t)
	a, _ := run(t, agent, "one")
	a.Set([]model.Endpoint{endpoint("voting", "a", 8000, model.Healthy), endpoint("voting", "b", 8001, model.NotServing)})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := a.Flushed(ctx); err != nil {
		t.Fatal(err)
	}
	client := agent.Client(t)
	known := func() bool {
		all, _, err := client.Health().Service("voting", "", false, nil)
		return err == nil && len(all) == 2 && len(passing(t, client, "voting")) == 1
	}
	for _, forget := range []bool{false, true} {
		agent.Kill(t)
		if forget {
			agent.Wipe(t)
		}
		agent.Restart(t)
		agent.Ready(t)
		t.Logf("forgets %v: told after %v", forget, eventually(t, 10*time.Second, "both are known again", known))
	}
}

func TestRegistrationsOutliveARestartForAMoment(t *testing.T) {
	agent := consultest.Start(t)
	client := agent.Client(t)
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	a, stop := run(t, agent, "one")
	a.Set([]model.Endpoint{endpoint("voting", "a", 8000, model.Healthy)})
	if err := a.Flushed(ctx); err != nil {
		t.Fatal(err)
	}
	stop()
	if len(passing(t, client, "voting")) != 1 {
		t.Error("gone with xdsserver, though its process is not")
	}
	b, _ := run(t, agent, "one")
	b.Set(nil)
	if err := b.Flushed(ctx); err != nil {
		t.Fatal(err)
	}
	if all, _, err := client.Health().Service("voting", "", false, nil); err != nil || len(all) != 1 {
		t.Errorf("its process had no time to come back: %v, %v", all, err)
	}
	took := eventually(t, 40*time.Second, "who does not come back is removed", func() bool {
		all, _, err := client.Health().Service("voting", "", false, nil)
		return err == nil && len(all) == 0
	})
	if took < ttl/2 {
		t.Errorf("removed after %v", took)
	}
}

func TestAThousandEndpointsAreAnnounced(t *testing.T) {
	agent := consultest.Start(t)
	a, _ := run(t, agent, "one")
	endpoints := make([]model.Endpoint, 1000)
	for i := range endpoints {
		endpoints[i] = endpoint(fmt.Sprintf("s-%d", i%100), fmt.Sprintf("i-%d", i), 8000+i, model.Healthy)
	}
	began := time.Now()
	a.Set(endpoints)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := a.Flushed(ctx); err != nil {
		t.Fatal(err)
	}
	told := time.Since(began)
	if told > 10*time.Second {
		t.Errorf("told in %v, want 10 s", told)
	}
	teller := newTeller(a)
	if err := teller.read(ctx); err != nil {
		t.Fatal(err)
	}
	want, _ := a.wanted()
	for id, had := range teller.has {
		had.refreshed, had.serving = time.Now().Add(-refresh), true
		teller.has[id] = had
	}
	jobs, _ := teller.jobs(want, time.Now())
	began = time.Now()
	if err := teller.all(ctx, jobs); err != nil || len(jobs) != len(endpoints) {
		t.Fatalf("%d jobs, %v", len(jobs), err)
	}
	t.Logf("1,000 endpoints: told in %v, refreshed in %v every %v", told.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), refresh)
	// Among many a change is there as soon, and nobody lapses.
	client := agent.Client(t)
	var took []time.Duration
	for i := range 20 {
		changed := slices.Clone(endpoints)
		changed[0].Health = model.NotServing
		if i%2 == 1 {
			changed[0].Health = model.Healthy
		}
		began := time.Now()
		a.Set(changed)
		eventually(t, 5*time.Second, "a change is there", func() bool { return len(passing(t, client, "s-0")) == 9+i%2 })
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("a change among them is in Consul after %v at the median, %v at most", took[len(took)/2], took[len(took)-1])
	if took[len(took)/2] > 200*time.Millisecond {
		t.Errorf("%v at the median, want 200 ms", took[len(took)/2])
	}
	wait := time.NewTimer(ttl + refresh)
	defer wait.Stop()
	<-wait.C
	found, _, err := client.Health().State(api.HealthCritical, nil)
	if err != nil || len(found) > 0 {
		t.Errorf("%d of 1,000 lapsed, %v", len(found), err)
	}
}

func TestWhatIsRefusedHoldsUpNothingElse(t *testing.T) {
	agent := consultest.Start(t, consultest.ACLs("a5c0ffee-0000-4000-8000-000000000003"))
	root := agent.Client(t)
	policy, _, err := root.ACL().PolicyCreate(&api.ACLPolicy{Name: "voting", Rules: `service "voting" { policy = "write" }`}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := root.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: policy.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	a, _ := runWith(t, Config{Owner: "one", Logger: slog.New(slog.NewTextHandler(log, nil))}, consul.Config{Address: agent.Address(), Token: token.SecretID})
	a.Set([]model.Endpoint{endpoint("emoji", "a", 8000, model.Healthy), endpoint("voting", "a", 8001, model.Healthy)})
	eventually(t, 10*time.Second, "what may be is registered", func() bool { return len(passing(t, root, "voting")) == 1 })
	short, cancel := context.WithTimeout(t.Context(), ttl+refresh)
	defer cancel()
	if err := a.Flushed(short); err == nil {
		t.Error("everything is said to be known")
	}
	if len(passing(t, root, "voting")) != 1 {
		t.Error("what may be registered lapsed")
	}
	text := log.String()
	if n := strings.Count(text, "lacks a rule"); n != 1 || !strings.Contains(text, `service \"emoji\" { policy = \"write\" }`) {
		t.Errorf("told %d times, want once with the rule:\n%s", n, text)
	}
	policy.Rules = `service_prefix "" { policy = "write" }`
	if _, _, err := root.ACL().PolicyUpdate(policy, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := a.Flushed(ctx); err != nil || len(passing(t, root, "emoji")) != 1 {
		t.Errorf("with the rule: %v", err)
	}
}

// TestAnotherTokenSpeaksForEveryService is about tokens that are renewed and deleted: an
// agent tells Consul of a service by the token that it was registered with.
func TestAnotherTokenSpeaksForEveryService(t *testing.T) {
	agent := consultest.Start(t, consultest.ACLs("a5c0ffee-0000-4000-8000-000000000004"))
	root := agent.Client(t)
	policy, _, err := root.ACL().PolicyCreate(&api.ACLPolicy{Name: "all", Rules: `service_prefix "" { policy = "write" }`}, nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	token := func() *api.ACLToken {
		made, _, err := root.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: policy.ID}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(made.SecretID), 0o600); err != nil {
			t.Fatal(err)
		}
		return made
	}
	old := token()
	a, _ := runWith(t, Config{Owner: "one"}, consul.Config{Address: agent.Address(), TokenFile: file})
	a.Set([]model.Endpoint{endpoint("voting", "a", 8000, model.Healthy)})
	eventually(t, 10*time.Second, "it is registered", func() bool { return len(passing(t, root, "voting")) == 1 })
	token()
	wait := time.NewTimer(2*time.Second + refresh)
	defer wait.Stop()
	<-wait.C
	if _, err := root.ACL().TokenDelete(old.AccessorID, nil); err != nil {
		t.Fatal(err)
	}
	// Whatever changes from here on, the agent tells Consul by the token of the service.
	a.Set([]model.Endpoint{endpoint("voting", "a", 8000, model.NotServing)})
	eventually(t, 10*time.Second, "a change is told by the new token", func() bool { return len(passing(t, root, "voting")) == 0 })
}

func TestAReadOnlyClientTellsNothing(t *testing.T) {
	agent := consultest.Start(t)
	a, _ := runWith(t, Config{Owner: "one"}, consul.Config{Address: agent.Address(), ReadOnly: true})
	a.Set([]model.Endpoint{endpoint("voting", "a", 8000, model.Healthy)})
	if err := a.Flushed(t.Context()); !errors.Is(err, consul.ErrReadOnly) {
		t.Errorf("got %v", err)
	}
	if all, err := agent.Client(t).Agent().Services(); err != nil || len(all) != 0 {
		t.Errorf("got %v, %v", all, err)
	}
}

func TestACheckThatWasRemovedComesBack(t *testing.T) {
	agent := consultest.Start(t)
	client := agent.Client(t)
	a, _ := run(t, agent, "one")
	a.Set([]model.Endpoint{endpoint("voting", "a", 8000, model.NotServing)})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := a.Flushed(ctx); err != nil {
		t.Fatal(err)
	}
	if err := client.Agent().CheckDeregister("service:tulle/one/voting/a"); err != nil {
		t.Fatal(err)
	}
	took := eventually(t, 10*time.Second, "the check is there again", func() bool {
		checks, _, err := client.Health().Checks("voting", nil)
		return err == nil && len(checks) == 1 && checks[0].Status == api.HealthCritical
	})
	t.Logf("after %v", took)
}

// lines keeps what is logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
