package admin

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
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
