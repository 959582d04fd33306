package announce

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
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
	client, err := consul.New(consul.Config{Address: agent.Address(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	a, err = New(Config{Client: client, Owner: owner, Logger: slog.New(slog.DiscardHandler)})
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
	known := func() bool {
		all, _, err := agent.Client(t).Health().Service("voting", "", false, nil)
		return err == nil && len(all) == 2 && len(passing(t, agent.Client(t), "voting")) == 1
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
	teller := newTeller(a)
	began = time.Now()
	if err := teller.refresh(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("1,000 endpoints: told in %v, refreshed in %v every %v", told.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), refresh)
	if told > 10*time.Second {
		t.Errorf("told in %v, want 10 s", told)
	}
}
