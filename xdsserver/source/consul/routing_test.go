package consul

import (
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

func TestEntriesThatAreNotHonouredAreTold(t *testing.T) {
	agent := consultest.Start(t)
	client, err := consul.New(consul.Config{Address: agent.Address()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	outputs, stop := runSource(t, Config{Client: client, Self: "one"})
	defer stop()
	next(t, outputs, func(out source.Output) bool { return out.Err == nil && len(out.Problems) == 0 })
	entries := agent.Client(t).ConfigEntries()
	if _, _, err := entries.Set(&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "voting", Protocol: "grpc"}, nil); err != nil {
		t.Fatal(err)
	}
	out := next(t, outputs, func(out source.Output) bool { return len(out.Problems) > 0 })
	if got := out.Problems[0]; got.From != "consul:service-defaults/voting" || !got.Warning {
		t.Errorf("got %+v", got)
	}
	if _, err := entries.Delete(api.ServiceDefaults, "voting", nil); err != nil {
		t.Fatal(err)
	}
	next(t, outputs, func(out source.Output) bool { return len(out.Problems) == 0 })
}
