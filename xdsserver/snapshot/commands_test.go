package snapshot

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	commandv1 "github.com/tulle-mesh/tulle/mesh/api/command/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func commandsOf(t *testing.T, snap *Snapshot, service string) *commandv1.Commands {
	t.Helper()
	r := snap.Resource(resource.CommandsType, resource.CommandsName(service))
	if r == nil {
		return nil
	}
	m := new(commandv1.Commands)
	if err := proto.Unmarshal(r.Any[len(r.Any)-r.size:], m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestEveryServiceHasCommands(t *testing.T) {
	b := builder(t, false)
	set := newWorld("web").set()
	snap, problems := b.Build(t.Context(), set)
	for _, service := range []string{"web", "client"} {
		if m := commandsOf(t, snap, service); m == nil || len(m.GetTaps()) != 0 || m.GetService() != service {
			t.Errorf("%s: %v, %v", service, m, problems)
		}
	}
	first := snap.Types[resource.CommandsType]

	set.Commands = map[model.ServiceName]*model.Commands{
		{Namespace: "shop", Name: "job"}: {Taps: []model.Tap{{ID: "t", MaxRPS: 5, Until: time.Unix(1e9, 0)}}},
	}
	set.Mesh = &model.Mesh{Name: "default", TapRedact: []string{"shop.v1.Card.number"}}
	snap, problems = b.Build(t.Context(), set)
	if m := commandsOf(t, snap, "job.shop"); len(m.GetTaps()) != 1 || len(m.GetTaps()[0].GetRedact()) != 1 || len(problems) != 0 {
		t.Errorf("a service that only calls: %v, %v", m, problems)
	}
	set.Commands[model.ServiceName{Namespace: "shop", Name: "job"}].Taps[0].Payload = true
	for _, mesh := range []*model.Mesh{{Name: "default"}, set.Mesh.Close()} {
		set.Mesh = mesh
		closing, _ := b.Build(t.Context(), set)
		if m := commandsOf(t, closing, "job.shop"); m.GetTaps()[0].GetPayload() == mesh.Closed {
			t.Errorf("messages, under %+v: %v", mesh, m)
		}
	}
	if name := resource.CommandsName("web"); snap.Types[resource.CommandsType][name] != first[name] {
		t.Error("commands that did not change are made anew")
	}

	// What is changed is ended, also by another form of it that nobody takes.
	set.Commands = map[model.ServiceName]*model.Commands{
		{Namespace: "shop", Name: "job"}: {Taps: []model.Tap{{ID: "t", MaxRPS: -1, Until: time.Unix(1e9, 0)}}},
	}
	snap, problems = b.Build(t.Context(), set)
	if m := commandsOf(t, snap, "job.shop"); m != nil || len(problems) != 1 {
		t.Errorf("commands that a process would refuse: %v, %v", m, problems)
	}
}
