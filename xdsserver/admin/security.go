package admin

import (
	"cmp"
	"context"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
)

// ListIdentities implements the API.
func (s *Server) ListIdentities(_ context.Context, req *adminv1.ListIdentitiesRequest) (*adminv1.ListIdentitiesResponse, error) {
	answer := &adminv1.ListIdentitiesResponse{Identities: s.identities(s.config.Server.Ledger())}
	if req.GetService() == "" {
		return answer, nil
	}
	name, err := model.ParseServiceName(req.GetService())
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	answer.Identities = slices.DeleteFunc(answer.GetIdentities(), func(i *adminv1.Identity) bool { return i.GetService() != name.String() })
	return answer, nil
}

// identities are those of the open streams, in order of service and node.
func (s *Server) identities(l serve.Ledger) []*adminv1.Identity {
	var out []*adminv1.Identity
	for _, stream := range l.Streams {
		c := stream.Client
		if c.ID == "" {
			continue
		}
		out = append(out, &adminv1.Identity{
			Node:      stream.Node,
			Service:   c.Service,
			Id:        c.ID,
			Issuer:    c.Issuer,
			Serial:    c.Serial,
			NotBefore: moment(c.NotBefore),
			NotAfter:  moment(c.NotAfter),
			Peer:      peerText(stream.Peer),
			Connected: timestamppb.New(stream.Connected),
		})
	}
	slices.SortStableFunc(out, func(a, b *adminv1.Identity) int {
		return cmp.Or(cmp.Compare(a.GetService(), b.GetService()), cmp.Compare(a.GetNode(), b.GetNode()))
	})
	return out
}

// peerText is where a stream comes from, for people: the clients of a unix socket
// have no address.
func peerText(address string) string {
	if address == "" || address == "@" {
		return "socket"
	}
	return address
}

// security is what check judges in its category identity.
func (s *Server) security(l serve.Ledger) *adminv1.Security {
	out := &adminv1.Security{
		Enrolment:     s.config.Enrolment,
		AccessDefault: "authenticated",
		Identities:    s.identities(l),
		Now:           timestamppb.New(time.Now()),
		AdminOpen:     mayBeReadByOthers,
	}
	if s.config.Authority != nil {
		out.Authority = authority(s.config.Authority.Status())
	}
	p := s.config.Published()
	if p == nil {
		return out
	}
	if p.Set.Mesh != nil && p.Set.Mesh.AccessDefault == model.AccessDeny {
		out.AccessDefault = "deny"
	}
	for _, name := range sorted(p.Set) {
		if until := permissiveUntil(p.Set, name); !until.IsZero() {
			out.Permissive = append(out.Permissive, &adminv1.Permissive{
				Service: name.String(), Until: timestamppb.New(until), Callers: s.plaintext(name),
			})
		}
		out.Trials = append(out.Trials, s.trials(name)...)
		if !slices.ContainsFunc(p.Set.Policies, func(policy *model.AccessPolicy) bool { return policy.Protects(name) }) {
			out.OpenServices = append(out.OpenServices, name.String())
		}
	}
	if out.GetAccessDefault() == "deny" {
		out.OpenServices = nil
	}
	return out
}

// sorted are the services of a set.
func sorted(set *model.Set) []model.ServiceName {
	names := make([]model.ServiceName, 0, len(set.Services))
	for name := range set.Services {
		names = append(names, name)
	}
	slices.SortFunc(names, model.ServiceName.Compare)
	return names
}
