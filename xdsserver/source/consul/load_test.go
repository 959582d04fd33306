package consul

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// spread returns the median and the largest of durations.
func spread(took []time.Duration) string {
	slices.Sort(took)
	return fmt.Sprintf("median %v, most %v of %d", median(took), took[len(took)-1], len(took))
}

func median(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)/2]
}

// has reports whether a part has the instance in that health.
func has(p catalogPart, id string, health model.Health) bool {
	return slices.ContainsFunc(p.instances, func(in instance) bool {
		return in.endpoint.Instance == id+"@n1" && in.endpoint.Health == health
	})
}

func TestChangesAreSeenWithinMilliseconds(t *testing.T) {
	const times = 30
	agent := consultest.Start(t)
	client := agent.Client(t)
	service := func(i int) string { return fmt.Sprintf("s%d", i) }
	for i := range times {
		register(t, client, service(i), fmt.Sprintf("1-%d", i), "")
		register(t, client, service(i), fmt.Sprintf("2-%d", i), "")
	}
	w := follow(t, consul.Config{Address: agent.Address()})
	w.until(t, "all", func(p catalogPart) bool { return len(p.instances) == 2*times })
	for _, kind := range []struct {
		name string
		do   func(service, id string)
		seen func(p catalogPart, id string) bool
	}{
		{
			"register",
			func(service, id string) { register(t, client, service, id, "") },
			func(p catalogPart, id string) bool { return has(p, id, model.Healthy) },
		},
		{
			"turn critical",
			func(service, id string) { register(t, client, service, id, api.HealthCritical) },
			func(p catalogPart, id string) bool { return has(p, id, model.NotServing) },
		},
		{
			"deregister",
			func(_, id string) { deregister(t, client, id) },
			func(p catalogPart, id string) bool {
				return !has(p, id, model.NotServing) && !has(p, id, model.Healthy) && !has(p, id, model.Lost)
			},
		},
	} {
		took := make([]time.Duration, times)
		for i := range took {
			id := fmt.Sprintf("3-%d", i)
			began := time.Now()
			kind.do(service(i), id)
			w.until(t, kind.name, func(p catalogPart) bool { return kind.seen(p, id) })
			took[i] = time.Since(began)
		}
		t.Logf("%s: %s", kind.name, spread(took))
		if m := median(took); m > slow*50*time.Millisecond {
			t.Errorf("%s took %v at the median, want under 50ms", kind.name, m)
		}
	}
}

// node is the name of one of several.
func node(i int) string { return fmt.Sprintf("n%d", i+1) }

// fill registers services of so many instances each, one on each node, 64 to a
// transaction, which is the most.
func fill(t *testing.T, client *api.Client, services, instances int) {
	t.Helper()
	ops := make(api.TxnOps, 0, 64)
	for j := range instances {
		ops = append(ops, &api.TxnOp{Node: &api.NodeTxnOp{Verb: api.NodeSet, Node: api.Node{Node: node(j), Address: "10.0.0.1"}}})
	}
	send := func() {
		t.Helper()
		ok, resp, _, err := client.Txn().Txn(ops, nil)
		if err != nil || !ok {
			t.Fatalf("got %v, %v, %v", ok, resp, err)
		}
		ops = ops[:0]
	}
	for i := range services {
		for j := range instances {
			ops = append(ops, &api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: node(j), Service: api.AgentService{
				ID: fmt.Sprintf("i-%d-%d", i, j), Service: fmt.Sprintf("s-%d", i),
				Address: fmt.Sprintf("10.%d.%d.%d", j, i/256, i%256), Port: 8080, Meta: map[string]string{"version": "v1"},
			}}})
			if len(ops) == 64 {
				send()
			}
		}
	}
	if len(ops) > 0 {
		send()
	}
}

func TestAThousandServicesOfTenInstances(t *testing.T) {
	const services, instances, times = 1000, 10, 30
	agent := consultest.Start(t, consultest.With("limits", map[string]any{"http_max_conns_per_client": 4000}))
	client := agent.Client(t)
	began := time.Now()
	fill(t, client, services, instances)
	t.Logf("registered in %v", time.Since(began))

	began = time.Now()
	w := follow(t, consul.Config{Address: agent.Address(), Connections: 2000})
	w.until(t, "all", func(p catalogPart) bool { return p.known && len(p.instances) == services*instances })
	took := time.Since(began)
	t.Logf("%d services of %d instances: loaded in %v", services, instances, took)
	if took > slow*10*time.Second {
		t.Errorf("loaded in %v, want under 10s", took)
	}

	// All wait for changes from here on; until then a change waits for its turn.
	idle := time.NewTimer(2 * time.Second)
	<-idle.C
	changes := make([]time.Duration, times)
	for i := range changes {
		id := fmt.Sprintf("new-%d", i)
		began := time.Now()
		register(t, client, fmt.Sprintf("s-%d", 37*i%services), id, "")
		w.until(t, id, func(p catalogPart) bool { return has(p, id, model.Healthy) })
		changes[i] = time.Since(began)
	}
	t.Logf("one change among them: %s", spread(changes))
	if m := median(changes); m > slow*50*time.Millisecond {
		t.Errorf("a change took %v at the median, want under 50ms", m)
	}
}

// BenchmarkJoin is what each emission costs where 1,000 services have 10 instances each.
func BenchmarkJoin(b *testing.B) {
	c := &catalog{listed: true}
	now := time.Now()
	for i := range 1000 {
		s := newService(fmt.Sprint("s-", i), "r1")
		s.take(reading{entries: entries("a b c d e f g h i j")}, now)
		c.services = append(c.services, &watched{name: s.name, listed: true, view: s.view(now)})
	}
	b.ReportAllocs()
	for b.Loop() {
		if p := c.whole().part(); len(p.instances) != 10_000 {
			b.Fatalf("got %d instances", len(p.instances))
		}
	}
}

// BenchmarkChange is what one answer costs until its view is there, by 10 instances.
func BenchmarkChange(b *testing.B) {
	s := newService("voting", "r1")
	now := time.Now()
	answers := []reading{{entries: entries("a b c d e f g h i j")}, {entries: entries("a! b c d e f g h i j")}}
	last := s.view(now)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(time.Hour) // it does not flap
		s.take(answers[i%2], now)
		v := s.view(now)
		if v.same(last) {
			b.Fatal("nothing changed")
		}
		last = v
	}
}
