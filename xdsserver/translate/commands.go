package translate

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	commandv1 "github.com/tulle-mesh/tulle/mesh/api/command/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// Commands returns what the processes of a service are told to do for a while; nil is
// nothing, which is a resource, too: who waits for commands has an answer. mesh says what
// taps leave out; nil is nothing. Of one that could not be read nobody knows that, so
// that taps show no messages.
func Commands(service model.ServiceName, c *model.Commands, mesh *model.Mesh) Resource {
	m := &commandv1.Commands{Service: service.String()}
	if c != nil {
		for i := range c.Taps {
			m.Taps = append(m.Taps, tap(&c.Taps[i], mesh))
		}
		if l := c.Log; l != nil {
			m.Log = &commandv1.Log{Instance: l.Instance, Level: l.Level, Access: l.Access, Until: timestamppb.New(l.Until)}
		}
	}
	return Resource{resource.CommandsType, resource.CommandsName(m.GetService()), m}
}

func tap(t *model.Tap, mesh *model.Mesh) *commandv1.Tap {
	var redact []string
	payload := t.Payload
	if mesh != nil {
		redact, payload = mesh.TapRedact, payload && !mesh.Closed
	}
	return &commandv1.Tap{
		Id: t.ID, Instance: t.Instance, To: t.To, From: t.From, Method: t.Method, Metadata: t.Metadata,
		Failures: t.Failures, MaxRps: t.MaxRPS, Payload: payload, Redact: redact, Until: timestamppb.New(t.Until),
	}
}
