package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

const (
	// maxAnswer is far above a chain of 4 and 16 roots, in bytes.
	maxAnswer = 256 << 10
	// maxText bounds what of a server's words is kept, in bytes.
	maxText = 512
)

// An order is a key that waits for its certificate. It is kept for as long as the
// outcome of asking is unknown: xdsserver redeems a token again for the key it was
// redeemed for, and for no other.
type order struct {
	key *ecdsa.PrivateKey
	csr []byte
	// token is the ID of the token it is for; empty for none.
	token string
}

func newOrder(token string) (*order, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	o := &order{key: key, token: token}
	// No name in it: an identity is attested, never asked for.
	return o, o.write(nil)
}

// write makes the certificate request, which names an identity or none.
func (o *order) write(id *url.URL) (err error) {
	template := &x509.CertificateRequest{}
	if id != nil {
		template.URIs = []*url.URL{id}
	}
	if o.csr, err = x509.CreateCertificateRequest(rand.Reader, template, o.key); err != nil {
		return fmt.Errorf("certificate request: %w", err)
	}
	return nil
}

// name has the request name what the authority behind the server wants to read in it:
// the identity that was attested, and none but the wanted service's.
func (o *order) name(c Config, uri string) error {
	id, err := spiffe.ParseID(uri)
	if err != nil {
		return fmt.Errorf("its answer: %w", err)
	}
	if id.Service != c.Service {
		return fmt.Errorf("would sign a certificate of %s, the process is service %s", id, c.Service)
	}
	u, err := url.Parse(id.String())
	if err != nil {
		return fmt.Errorf("its answer: %w", err)
	}
	return o.write(u)
}

// request is the message that asks for the order's certificate.
func (o *order) request(c Config) *identityv1.SignRequest {
	service, namespace := c.service()
	return &identityv1.SignRequest{Csr: o.csr, Service: service, Namespace: namespace, Instance: c.Instance}
}

// sign asks the server behind conn. The identity it returns is one that peers
// accept; that it is the one that was wanted is for the caller to check.
func (o *order) sign(ctx context.Context, conn grpc.ClientConnInterface, c Config, r *identityv1.SignRequest, opts ...grpc.CallOption) (*Identity, error) {
	client, opts := identityv1.NewIdentityServiceClient(conn), append(opts, grpc.MaxCallRecvMsgSize(maxAnswer))
	answer, err := client.Sign(ctx, r, opts...)
	if err == nil && answer.GetSignAs() != "" {
		if err := o.name(c, answer.GetSignAs()); err != nil {
			return nil, err
		}
		r.Csr = o.csr
		answer, err = client.Sign(ctx, r, opts...)
	}
	if err != nil {
		return nil, &answerError{status: status.Convert(err)}
	}
	if answer.GetBundle() == nil {
		return nil, errors.New("its answer holds no trust bundle")
	}
	bundle, err := spiffe.ParseBundle(answer.GetBundle().GetTrustDomain(), answer.GetBundle().GetAuthorities())
	if err != nil {
		return nil, fmt.Errorf("its answer: %w", err)
	}
	chain := make([]*x509.Certificate, len(answer.GetChain()))
	for i, der := range answer.GetChain() {
		if chain[i], err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("its answer: certificate %d: %w", i, err)
		}
	}
	return newIdentity(chain, o.key, bundle)
}

// An answerError is what a server answered instead of a certificate. It is no
// status error on purpose, and unwraps to none: a handshake that waits for an
// identity returns it, and gRPC would end every call that waits for the connection
// with a status that was never meant for it.
type answerError struct{ status *status.Status }

// Error leaves out that it is an rpc error; every one here is.
func (e *answerError) Error() string {
	text := e.status.Message()
	if len(text) > maxText {
		text = text[:maxText] + "..."
	}
	return fmt.Sprintf("%s (%s)", text, e.status.Code())
}

// refused reports whether a server has decided, so that asking again is of use
// only after a person has mended something.
func refused(err error) bool {
	if several, ok := errors.AsType[enrolError](err); ok {
		return slices.ContainsFunc(several, refused)
	}
	e, ok := errors.AsType[*answerError](err)
	if !ok {
		return false
	}
	switch e.status.Code() {
	case codes.PermissionDenied, codes.InvalidArgument, codes.Unauthenticated:
		return true
	default:
		return false
	}
}

// unauthenticated reports whether xdsserver does not know the process any more.
func unauthenticated(err error) bool {
	e, ok := errors.AsType[*answerError](err)
	return ok && e.status.Code() == codes.Unauthenticated
}
