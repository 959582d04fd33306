package main

import (
	"context"
	"testing"
	"testing/synctest"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

// A registry answers as xdsserver does while instances come.
type registry struct {
	adminv1connect.AdminServiceClient

	states [][]string // of the endpoints, by question
	asked  int
}

func (r *registry) ListEndpoints(context.Context, *adminv1.ListEndpointsRequest) (*adminv1.ListEndpointsResponse, error) {
	answer := &adminv1.ListEndpointsResponse{}
	for _, state := range r.states[r.asked] {
		answer.Endpoints = append(answer.Endpoints, &adminv1.Endpoint{State: state})
	}
	r.asked++
	return answer, nil
}

func TestAnInstanceThatDoesNotServeYetIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &registry{states: [][]string{{"healthy"}, {"healthy", "not serving"}, {"healthy", "healthy"}}}
		s := &server{crew: &crew{ended: make(chan string, 1)}, admin: r}
		if err := s.await(t.Context(), 2); err != nil || r.asked != len(r.states) {
			t.Errorf("asked %d times: %v, want %d", r.asked, err, len(r.states))
		}
	})
}
