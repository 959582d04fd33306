package admin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
)

// The names of what decides beside policies, as they are served.
const (
	policyHealth  = "health"
	policyDefault = "mesh/default"
)

// Authorize implements the API. What it says of a call is decided by the resources
// that are served, as the service's own processes decide it.
func (s *Server) Authorize(_ context.Context, req *adminv1.AuthorizeRequest) (*adminv1.AuthorizeResponse, error) {
	p, name, err := s.known(req.GetService())
	if err != nil {
		return nil, err
	}
	answer := &adminv1.AuthorizeResponse{Rules: rulesFor(p.Set, name)}
	if req.GetFrom() == "" && req.GetMethod() == "" {
		return answer, nil
	}
	id, err := s.callerID(req.GetFrom())
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	if method, err := parseMethod(req.GetMethod()); err != nil || method != req.GetMethod() {
		return nil, connect.NewError(connect.CodeInvalidArgument,
			fmt.Errorf("%q is no method, want /package.Service/Method", req.GetMethod()))
	}
	in, err := inbound(p.Snapshot, name.String())
	if err != nil {
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	md := metadata.MD{}
	for _, m := range req.GetMetadata() {
		md.Append(m.GetName(), m.GetValue())
	}
	d := in.Access(req.GetMethod()).Decide(&resource.Caller{ID: id}, req.GetMethod(), md)
	answer.Verdict = verdict(p.Set, name, d)
	return answer, nil
}

// verdict is a decision, and why.
func verdict(set *model.Set, service model.ServiceName, d resource.Decision) *adminv1.AuthorizeResponse_Verdict {
	return &adminv1.AuthorizeResponse_Verdict{
		Allowed:     d.Allowed,
		Policy:      d.Policy,
		Reason:      reason(set, service, d.Allowed, d.Policy),
		WouldDeny:   d.WouldDeny,
		WouldPolicy: d.WouldPolicy,
	}
}

// known is what is published and a service of it.
func (s *Server) known(service string) (*Publication, model.ServiceName, error) {
	name, err := model.ParseServiceName(service)
	if err != nil {
		return nil, name, connect.NewError(connect.CodeInvalidArgument, err)
	}
	p := s.config.Published()
	if p == nil {
		return nil, name, connect.NewError(connect.CodeUnavailable, errors.New("nothing is published yet"))
	}
	if p.Set.Services[name] == nil {
		return nil, name, s.noService(service)
	}
	return p, name, nil
}

// callerID reads who calls: a SPIFFE id, or a service of this mesh.
func (s *Server) callerID(from string) (string, error) {
	if strings.HasPrefix(from, "spiffe://") {
		id, err := spiffe.ParseID(from)
		if err != nil {
			return "", err
		}
		return id.String(), nil
	}
	name, err := model.ParseServiceName(from)
	if err != nil {
		return "", err
	}
	if s.config.Authority == nil {
		return "", errors.New("this server has no trust domain: name the caller by its SPIFFE id")
	}
	return s.config.Authority.Trust().Domain().ServiceID(name.String()), nil
}

// inbound puts together what a server of a service is served.
func inbound(snap *snapshot.Snapshot, service string) (*resource.Inbound, error) {
	name := resource.ServerListener(service)
	listener, err := decoded[*resource.Listener](snap, resource.ListenerType, name)
	if err != nil {
		return nil, err
	}
	routes := listener.Routes
	if routes == nil {
		if routes, err = decoded[*resource.RouteConfiguration](snap, resource.RouteType, listener.RouteName); err != nil {
			return nil, err
		}
	}
	return &resource.Inbound{Listener: listener, VirtualHost: routes.VirtualHost(service)}, nil
}

func decoded[R resource.Resource](snap *snapshot.Snapshot, typeURL, name string) (R, error) {
	var none R
	r := snap.Resource(typeURL, name)
	if r == nil {
		return none, fmt.Errorf("nothing is served for %s yet", name)
	}
	var wrapped anypb.Any
	if err := proto.Unmarshal(r.Any, &wrapped); err != nil {
		return none, fmt.Errorf("read %s as it is served: %w", name, err)
	}
	got, err := resource.Decode(typeURL, wrapped.GetValue())
	if err != nil {
		return none, fmt.Errorf("read %s as it is served: %w", name, err)
	}
	typed, ok := got.(R)
	if !ok {
		return none, fmt.Errorf("read %s as it is served: it is another kind of resource", name)
	}
	return typed, nil
}

// reason says in a sentence why a call was decided as it was.
func reason(set *model.Set, service model.ServiceName, allowed bool, policy string) string {
	switch {
	case policy == policyHealth:
		return "health checks are exempt from policies"
	case policy == policyDefault && allowed:
		return fmt.Sprintf("no policy says who may call %s, and the mesh lets everybody who is authenticated", service)
	case policy == "" || policy == policyDefault:
		return fmt.Sprintf("no policy allows anything to call %s, and the mesh's default is to deny", service)
	}
	if p, rule, ok := parsePolicy(set, policy); ok {
		return fmt.Sprintf("%s %s it at spec.%s[%d] (%s)", p, rule.verb(), rule.action, rule.index, rule.origin)
	}
	return fmt.Sprintf("no rule of %s allows it", policy)
}

// A ruleName is "NAMESPACE/NAME/allow/INDEX" taken apart.
type ruleName struct {
	action string
	index  int
	origin string
}

func (r ruleName) verb() string {
	if r.action == "deny" {
		return "denies"
	}
	return "allows"
}

// parsePolicy finds the rule that an RBAC policy was made from.
func parsePolicy(set *model.Set, text string) (policy string, rule ruleName, ok bool) {
	parts := strings.Split(text, "/")
	if len(parts) != 4 {
		return "", ruleName{}, false
	}
	index, err := strconv.Atoi(parts[3])
	if err != nil {
		return "", ruleName{}, false
	}
	for _, p := range set.Policies {
		if p.Namespace == parts[0] && p.Name == parts[1] {
			return refString(p.Ref()), ruleName{action: parts[2], index: index, origin: p.From}, true
		}
	}
	return "", ruleName{}, false
}
