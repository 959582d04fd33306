package enrol

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

// maxInstance bounds the instance's name, in bytes, as it is logged.
const maxInstance = 128

// An applicant is who asks for a certificate, as far as it is known.
type applicant struct {
	caller *identity.Caller
	// addr is its IP address; not valid over a unix socket.
	addr netip.Addr
	// from is its address for people, source for limits.
	from, source string
	instance     string
	// asks is the service it asks to be, canonical; may be empty.
	asks string
	csr  *request
	// token is the id of the token it comes with; may be empty.
	token string
}

// Sign implements identityv1.IdentityServiceServer.
func (s *Server) Sign(ctx context.Context, req *identityv1.SignRequest) (*identityv1.SignResponse, error) {
	a := &applicant{from: "unknown"}
	answer, err := s.sign(ctx, a, req)
	if err != nil {
		return nil, s.refuse(a, err)
	}
	return answer, nil
}

func (s *Server) sign(ctx context.Context, a *applicant, req *identityv1.SignRequest) (*identityv1.SignResponse, error) {
	if err := s.receive(ctx, a, req); err != nil {
		return nil, err
	}
	service, event, err := s.attest(ctx, a, req)
	if err != nil {
		return nil, err
	}
	// After attestation: what all share is not for those whom nothing attests.
	if err := s.limits.sign(); err != nil {
		return nil, err
	}
	return s.issue(ctx, a, service, event)
}

// receive takes in what the request says, cheap checks first.
func (s *Server) receive(ctx context.Context, a *applicant, req *identityv1.SignRequest) error {
	caller, ok := identity.CallerFromContext(ctx)
	if !ok {
		return status.Error(codes.Unauthenticated, "enrol: the connection is not of the mesh port")
	}
	a.caller = caller
	a.locate()
	if len(req.GetInstance()) > maxInstance || strings.ContainsFunc(req.GetInstance(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return status.Errorf(codes.InvalidArgument, "enrol: instance: has over %d bytes, or characters that cannot be shown", maxInstance)
	}
	a.instance = req.GetInstance()
	// xdsserver's own user starts as many processes as it likes: it could read their
	// keys anyway, and what all share bounds it.
	if caller.Peer == nil && !caller.Local && a.source != inMemory {
		if err := s.limits.enrol(a.source); err != nil {
			return err
		}
	}
	var err error
	if a.asks, err = asked(req); err != nil {
		return err
	}
	a.csr, err = parseRequest(req.GetCsr())
	return err
}

// inMemory is where callers are that no network connects: those of tests.
const inMemory = "memory"

// locate notes where the caller is.
func (a *applicant) locate() {
	if tcp, ok := a.caller.Addr.(*net.TCPAddr); ok {
		a.addr = tcp.AddrPort().Addr().Unmap().WithZone("")
		a.from, a.source = a.addr.String(), a.addr.String()
		if a.addr.Is6() {
			// Who has one address of IPv6 has all of its network (RFC 6177).
			if network, err := a.addr.Prefix(64); err == nil {
				a.source = network.String()
			}
		}
		return
	}
	if a.caller.Addr == nil || a.caller.Addr.Network() != "unix" {
		a.from, a.source = inMemory, inMemory
		return
	}
	a.from = "unix socket, uid " + strconv.Itoa(a.caller.UID)
	a.source = a.from
}

// asked returns the service that the request asks for, canonical.
func asked(req *identityv1.SignRequest) (string, error) {
	if req.GetService() == "" {
		return "", nil
	}
	namespace := req.GetNamespace()
	if namespace == "" {
		namespace = spiffe.DefaultNamespace
	}
	// By way of an identity: what is not one cannot be asked for.
	id, err := spiffe.ParseID(spiffe.ServiceID("tulle.local", req.GetService()+"."+namespace))
	if err != nil || id.Service == "" || strings.Contains(req.GetService(), ".") {
		return "", status.Errorf(codes.InvalidArgument,
			"enrol: service %.80q in namespace %.80q: want DNS labels, as in voting and shop", req.GetService(), namespace)
	}
	return id.Service, nil
}

// attest returns the service that the caller is.
func (s *Server) attest(ctx context.Context, a *applicant, req *identityv1.SignRequest) (service, event string, err error) {
	switch {
	case a.caller.Peer != nil:
		event = eventRenewed
		service, err = s.renew(a)
	case req.GetToken() != "":
		event = eventEnrolled
		service, err = s.redeem(a, req.GetToken())
	case req.GetJwt() != "":
		event = eventEnrolled
		service, err = s.believe(ctx, req.GetJwt())
	case a.caller.Local && s.config.Socket:
		if service, event = a.asks, eventEnrolled; service == "" {
			err = status.Error(codes.InvalidArgument, "enrol: the request names no service: say who the process is")
		}
	case a.caller.UID >= 0 && s.config.Socket:
		err = status.Errorf(codes.Unauthenticated, "enrol: the process runs as uid %d, and only xdsserver's own user and root join over its socket: "+
			"run it as that user, or give it a token ('xdsserver token create')", a.caller.UID)
	default:
		err = status.Error(codes.Unauthenticated, "enrol: nothing says who the process is: give it a token ("+
			"'xdsserver token create --service NAME', then TULLE_TOKEN_FILE), or let it join over the unix socket of an xdsserver on its machine")
	}
	if err != nil {
		return "", "", err
	}
	if a.asks != "" && a.asks != service {
		return "", "", status.Errorf(codes.PermissionDenied, "enrol: the process asks to be %q and is attested as %q: "+
			"set TULLE_SERVICE to that, or attest it as %q", a.asks, service, a.asks)
	}
	return service, event, nil
}

// renew returns the service that the caller's certificate proves.
func (s *Server) renew(a *applicant) (string, error) {
	peer := a.caller.Peer
	if peer.Service == "" {
		return "", status.Errorf(codes.PermissionDenied, "enrol: %s is no service of the mesh", peer.URI)
	}
	// A connection outlives its certificate, which then proves nothing any more.
	if end := peer.NotAfter(); time.Now().After(end) {
		return "", status.Errorf(codes.Unauthenticated, "enrol: the certificate of %s expired at %s: connect without it, and join anew", peer.URI, stamp(end))
	}
	return peer.Service, s.limits.renew(peer.Service, a.instance)
}

// issue has the key signed.
func (s *Server) issue(ctx context.Context, a *applicant, service, event string) (*identityv1.SignResponse, error) {
	trust := s.config.Authority.Trust()
	id := trust.Domain().ServiceID(service)
	entry := Entry{Identity: id, Peer: a.from, Instance: a.instance, Token: a.token}
	if names := a.csr.names(id); names != "" {
		s.audit(entry.as(eventAskedForMore, "the certificate request names "+names+", which is ignored"))
	}
	// A decision is on disk before it takes effect; a renewal decides nothing new.
	if event == eventEnrolled {
		if err := s.config.Audit.Append(entry.as(eventAttested, "")); err != nil {
			s.config.Logger.Error("audit log cannot be written, nobody new may join", "error", err)
			return nil, status.Error(codes.Unavailable, "enrol: the audit log cannot be written, so nobody new may join: is xdsserver's disk full?")
		}
	}
	chain, err := s.config.Authority.Issue(ctx, identity.Order{ID: id, Key: a.csr.key, Request: a.csr.csr.Raw})
	if errors.Is(err, identity.ErrUnnamed) {
		return &identityv1.SignResponse{SignAs: id}, nil
	}
	if notIssuer, ok := errors.AsType[*identity.NotIssuerError](err); ok {
		return nil, status.Error(codes.FailedPrecondition, "enrol: "+notIssuer.Error())
	}
	if ctx.Err() != nil && err != nil {
		return nil, status.FromContextError(ctx.Err()).Err() // who asked is gone
	}
	if err != nil {
		s.config.Logger.Error("identity not issued", "identity", id, "error", err)
		return nil, status.Error(codes.Unavailable, "enrol: the authority cannot sign now: 'xdsserver ca status' says why")
	}
	if leaf, err := x509.ParseCertificate(chain[0]); err == nil {
		entry.Serial = hex.EncodeToString(leaf.SerialNumber.Bytes())
	}
	s.audit(entry.as(event, ""))
	answer := &identityv1.SignResponse{
		Chain:  chain,
		Bundle: &identityv1.TrustBundle{TrustDomain: trust.Bundle.TrustDomain(), Authorities: trust.Bundle.DER()},
	}
	if !trust.RenewBefore.IsZero() {
		answer.Bundle.RenewBefore = timestamppb.New(trust.RenewBefore)
	}
	return answer, nil
}

// refuse notes a refusal and returns it.
func (s *Server) refuse(a *applicant, err error) error {
	entry := Entry{Peer: a.from, Instance: a.instance, Token: a.token}
	if a.caller != nil && a.caller.Peer != nil {
		entry.Identity = a.caller.Peer.URI
	}
	// Those who ask without end fill no disk, and push no other line out of the log.
	var noted bool
	if noted, entry.Unwritten = s.limits.note(); noted {
		s.audit(entry.as(eventRefused, status.Convert(err).Message()))
		s.config.Logger.Warn("identity refused", "peer", a.from, "asks", a.asks, "unwritten", entry.Unwritten, "error", err)
	}
	return err
}

// audit writes what may not be held up by the disk.
func (s *Server) audit(e Entry) {
	if err := s.config.Audit.Append(e); err != nil {
		s.config.Logger.Error("audit log cannot be written", "event", e.Event, "identity", e.Identity, "error", err)
	}
}

// keyHash names a public key.
func keyHash(csr *request) Hash { return sha256.Sum256(csr.spki) }
