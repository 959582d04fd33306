package consul

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

func remembered() source.Output {
	voting := model.ServiceName{Namespace: "shop", Name: "voting"}
	return source.Output{
		Objects: []model.Object{
			&model.Service{
				Name: voting, From: "consul:service-defaults/voting", Timeout: time.Second, Retry: &model.Retry{Attempts: 3},
				LoadBalancing: &model.LoadBalancing{Policy: model.RingHash, HashHeader: "user", FailurePenalty: new(time.Duration)},
			},
			&model.Route{Namespace: "shop", Name: "consul-voting", Parents: []model.ServiceName{voting}, Rules: []model.Rule{{
				Matches:  []model.Match{{Service: "vote.v1.Voting", Headers: []model.HeaderMatch{{Name: "x", Value: "a.*", Regex: true}}}},
				Backends: []model.Backend{{Service: voting, Version: "v2", Weight: 20}}, Timeout: new(time.Duration),
			}}},
			&model.AccessPolicy{Namespace: "shop", Name: "consul-voting", Services: []model.ServiceName{voting}, Rules: model.AccessRules{
				HasAllow: true, Deny: []model.AccessRule{{From: []model.Principal{{Kind: model.OfService, Value: "web"}}}},
			}},
		},
		Endpoints: []model.Endpoint{{
			Service: voting, Instance: "a@node", Version: "v2", Subsets: []string{"two"}, Zone: "north", Addresses: []string{"10.0.0.1:8080"},
			Weight: 3, Health: model.Lost, From: "consul:node", Since: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		}},
	}
}

func TestWhatConsulSaidIsKeptWhole(t *testing.T) {
	want := remembered()
	data, err := memoryOf(want).encode()
	if err != nil {
		t.Fatal(err)
	}
	m, err := decodeMemory(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, m.output()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i := range data {
		if bad := slices.Clone(data); true {
			bad[i] ^= 1
			if _, err := decodeMemory(bad); err == nil {
				t.Fatalf("a flipped bit in byte %d is not noticed", i)
			}
		}
	}
}

func FuzzMemory(f *testing.F) {
	data, err := memoryOf(remembered()).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := decodeMemory(data); err == nil {
			m.output()
		}
	})
}

// run runs a source until stop, and returns what it emits.
func runSource(t *testing.T, c Config) (outputs <-chan source.Output, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	emitted, done := make(chan source.Output, 100), make(chan error, 1)
	go func() { done <- New(c).Run(ctx, func(out source.Output) { emitted <- out }) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return emitted, stop
}

func next(t *testing.T, outputs <-chan source.Output, so func(source.Output) bool) source.Output {
	t.Helper()
	timeout := time.NewTimer(15 * time.Second)
	defer timeout.Stop()
	for {
		select {
		case out := <-outputs:
			if so(out) {
				return out
			}
		case <-timeout.C:
			t.Fatal("not emitted within 15 s")
		}
	}
}

func TestASourceThatStartsWithoutConsulSaysWhatItKnew(t *testing.T) {
	agent := consultest.Start(t)
	register(t, agent.Client(t), "voting", "a", "")
	client, err := consul.New(consul.Config{Address: agent.Address()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	file := filepath.Join(t.TempDir(), "cache")
	c := Config{Client: client, Self: "one", CacheFile: file}
	outputs, stop := runSource(t, c)
	next(t, outputs, func(out source.Output) bool { return out.Err == nil && len(out.Endpoints) == 1 })
	stop()
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("cache: %v, %v", info, err)
	}

	agent.Kill(t)
	outputs, stop = runSource(t, c)
	first := next(t, outputs, func(source.Output) bool { return true })
	if first.Err == nil || len(first.Endpoints) != 1 {
		t.Errorf("with a cache: got %d endpoints, %v", len(first.Endpoints), first.Err)
	}
	stop()

	c.CacheFile = ""
	outputs, stop = runSource(t, c)
	first = next(t, outputs, func(source.Output) bool { return true })
	if p, ok := first.Objects[0].(*model.AccessPolicy); first.Err == nil || !ok || !p.AllServices {
		t.Errorf("without: got %v, %v, want that nobody may call anybody", first.Objects, first.Err)
	}
	agent.Restart(t)
	agent.Ready(t)
	next(t, outputs, func(out source.Output) bool { return out.Err == nil && len(out.Endpoints) == 1 })
	stop()
}
