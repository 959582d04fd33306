package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc/status"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/xdsserver/enrol"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// kindWorkload is the authority that signs nothing.
const kindWorkload = "workload-api"

// CreateToken implements the API.
func (s *Server) CreateToken(ctx context.Context, req *adminv1.CreateTokenRequest) (*adminv1.CreateTokenResponse, error) {
	if s.config.Tokens == nil || s.config.Authority == nil {
		return nil, errNoAuthority
	}
	if s.config.Authority.Kind() == kindWorkload {
		return nil, connect.NewError(connect.CodeFailedPrecondition,
			errors.New("identities come from the SPIFFE Workload API, and no token makes one: register the workload there"))
	}
	name, err := model.ParseServiceName(req.GetService())
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	order := enrol.TokenRequest{Service: name.String(), TTL: req.GetTtl().AsDuration(), Uses: int(req.GetUses()), Address: req.GetAddress()}
	if order.Address == "" {
		order.Address = s.config.Address
	}
	if _, _, err := net.SplitHostPort(order.Address); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument,
			fmt.Errorf("%q is no address that a process elsewhere reaches the mesh port by: give one with --address HOST:PORT", order.Address))
	}
	for _, c := range req.GetCidrs() {
		prefix, err := netip.ParsePrefix(c)
		if err != nil {
			return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("%q is no network, want for example 10.0.0.0/8", c))
		}
		order.CIDRs = append(order.CIDRs, prefix)
	}
	join, token, err := s.config.Tokens.CreateToken(ctx, order)
	if err != nil {
		return nil, tokenError(err)
	}
	return &adminv1.CreateTokenResponse{Text: join.Reveal(), Token: toToken(token)}, nil
}

// ListTokens implements the API.
func (s *Server) ListTokens(context.Context, *adminv1.ListTokensRequest) (*adminv1.ListTokensResponse, error) {
	if s.config.Tokens == nil {
		return nil, errNoAuthority
	}
	tokens, err := s.config.Tokens.ListTokens()
	if err != nil {
		return nil, tokenError(err)
	}
	answer := &adminv1.ListTokensResponse{}
	for _, t := range tokens {
		answer.Tokens = append(answer.Tokens, toToken(t))
	}
	return answer, nil
}

// RevokeToken implements the API.
func (s *Server) RevokeToken(_ context.Context, req *adminv1.RevokeTokenRequest) (*adminv1.RevokeTokenResponse, error) {
	if s.config.Tokens == nil {
		return nil, errNoAuthority
	}
	if err := s.config.Tokens.RevokeToken(req.GetId()); err != nil {
		return nil, tokenError(err)
	}
	return &adminv1.RevokeTokenResponse{}, nil
}

func toToken(t enrol.Token) *adminv1.Token {
	out := &adminv1.Token{
		Id: t.ID, Service: t.Service, Created: moment(t.Created), Expires: moment(t.Expires),
		Uses: int32(t.Uses), Used: int32(len(t.Redemptions)), State: stateOf(t, time.Now()),
	}
	for _, c := range t.CIDRs {
		out.Cidrs = append(out.Cidrs, c.String())
	}
	for _, r := range t.Redemptions {
		out.Redemptions = append(out.Redemptions, &adminv1.Redemption{At: moment(r.At), Peer: r.Peer})
	}
	return out
}

// stateOf says whether a token may be used, and else why not.
func stateOf(t enrol.Token, now time.Time) string {
	switch {
	case t.Revoked:
		return "revoked"
	case len(t.Redemptions) >= t.Uses:
		return "used up"
	case now.After(t.Expires):
		return "expired"
	}
	return "usable"
}

// tokenError says to the operator what enrolment says to a process: their codes
// have the same numbers.
func tokenError(err error) error {
	if s, ok := status.FromError(err); ok {
		return connect.NewError(connect.Code(s.Code()), errors.New(s.Message()))
	}
	return connect.NewError(connect.CodeFailedPrecondition, err)
}
