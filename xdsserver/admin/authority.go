package admin

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/xdsserver/enrol"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

// A rotator is an authority that replaces its own certificates.
type rotator interface {
	Rotate(ctx context.Context, level identity.Level) error
}

var _ rotator = (*identity.CA)(nil)

// errNoAuthority answers where there is none: a server in a test.
var errNoAuthority = connect.NewError(connect.CodeFailedPrecondition, errors.New("this server has no authority"))

// GetAuthority implements the API.
func (s *Server) GetAuthority(context.Context, *adminv1.GetAuthorityRequest) (*adminv1.GetAuthorityResponse, error) {
	if s.config.Authority == nil {
		return nil, errNoAuthority
	}
	return &adminv1.GetAuthorityResponse{Authority: authority(s.config.Authority.Status())}, nil
}

// RotateAuthority implements the API.
func (s *Server) RotateAuthority(ctx context.Context, req *adminv1.RotateAuthorityRequest) (*adminv1.RotateAuthorityResponse, error) {
	if s.config.Authority == nil {
		return nil, errNoAuthority
	}
	r, ok := s.config.Authority.(rotator)
	if !ok {
		return nil, connect.NewError(connect.CodeFailedPrecondition,
			errors.New("the authority "+s.config.Authority.Kind()+" is rotated where its certificates come from, not here"))
	}
	level := identity.Root
	if req.GetIntermediate() {
		level = identity.Intermediate
	}
	if err := r.Rotate(ctx, level); err != nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, err)
	}
	s.config.Logger.Info("rotation started by an operator", "level", level.String())
	if err := s.config.Audit.Append(enrol.Entry{Event: "authority.rotated", Reason: "an operator replaces the " + level.String()}); err != nil {
		s.config.Logger.Error("audit log cannot be written", "event", "authority.rotated", "error", err)
	}
	return &adminv1.RotateAuthorityResponse{Authority: authority(s.config.Authority.Status())}, nil
}

func authority(s identity.Status) *adminv1.Authority {
	out := &adminv1.Authority{
		TrustDomain:   s.TrustDomain,
		Kind:          s.Kind,
		Roots:         certificates(s.Roots, s.Replica),
		Intermediates: certificates(s.Intermediates, s.Replica),
		RootOnline:    s.RootOnline,
		IssuesUntil:   moment(s.IssuesUntil),
		Issued:        s.Issued,
		Generation:    s.Generation,
		Problem:       s.Problem,
	}
	if s.LeafTTL > 0 {
		out.LeafTtl = durationpb.New(s.LeafTTL)
	}
	if r := s.Rotation; r != nil {
		out.Rotation = &adminv1.Rotation{
			Level: r.Level.String(), Phase: string(r.Phase), Since: moment(r.Since), Until: moment(r.Until), Waiting: r.Waiting,
		}
	}
	return out
}

// certificates are those of an xdsserver's authority; own is its name among several.
func certificates(in []identity.Certificate, own string) []*adminv1.CACertificate {
	out := make([]*adminv1.CACertificate, 0, len(in))
	for _, c := range in {
		if c.Replica == own {
			c.Replica = ""
		}
		out = append(out, &adminv1.CACertificate{
			Name:      c.Name,
			KeyId:     c.KeyID,
			Serial:    c.Serial,
			NotBefore: moment(c.NotBefore),
			NotAfter:  moment(c.NotAfter),
			Phase:     string(c.Phase),
			Since:     moment(c.Since),
			Until:     moment(c.Until),
			Online:    c.Online,
			Replica:   c.Replica,
		})
	}
	return out
}

// moment is t, or nil where it is not known.
func moment(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
