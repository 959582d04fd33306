package admin

import (
	"context"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
	"github.com/tulle-mesh/tulle/xdsserver/tap"
)

// ListCommands implements the API.
func (s *Server) ListCommands(context.Context, *adminv1.ListCommandsRequest) (*adminv1.ListCommandsResponse, error) {
	answer := &adminv1.ListCommandsResponse{}
	if s.config.Taps == nil {
		return answer, nil
	}
	for _, c := range s.config.Taps.Commands() {
		answer.Commands = append(answer.Commands, &adminv1.ListCommandsResponse_Command{
			Service: c.Service, Instance: c.Instance, Kind: c.Kind, What: c.What, By: c.By, Until: timestamppb.New(c.Until),
		})
	}
	return answer, nil
}

// Obeying is a tap.Config's Processes: it counts the processes of a service that
// subscribe to its commands, and those that have what is published, where that holds a
// generation of the hub's output.
func Obeying(server *serve.Server, published func() *Publication, service, instance string, generation uint64) (have, of int) {
	p, source := published(), (*tap.Hub)(nil).Name()
	holds := p != nil && p.Set.Generations[source] >= generation
	name := resource.CommandsName(service)
	for _, held := range server.Held(func(s *serve.Stream) bool { return s.Cluster == service && isInstance(s.Node, service, instance) }) {
		holding, asked := held.Holding(resource.CommandsType, name)
		if !asked {
			continue // a stock client
		}
		of++
		if holds && holding.State == serve.HoldingCurrent {
			have++
		}
	}
	return have, of
}

// isInstance reports whether a node, which calls itself "service/instance", is an
// instance, or has it among several of its own.
func isInstance(node, service, instance string) bool {
	if instance == "" {
		return true
	}
	own, ok := strings.CutPrefix(node, service+"/")
	return ok && own != "" && (instance == own || strings.HasPrefix(instance, own+"-"))
}
