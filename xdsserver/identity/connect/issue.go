package connect

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

// crowded bounds the pause before Consul is asked again after it said that too many
// certificates are signed now (csr_max_per_second, 50 unless it was changed).
const crowded = time.Second

// Issue implements [identity.Authority]: Consul signs the request as it is, so that it
// must name the identity, and nothing else.
func (c *CA) Issue(ctx context.Context, order identity.Order) ([][]byte, error) {
	id, err := spiffe.ParseID(order.ID)
	switch {
	case err != nil:
		return nil, fmt.Errorf("identity: order: %w", err)
	case id.Domain() != c.domain || id.Service == "":
		return nil, fmt.Errorf("identity: order: %s is no service of %s", order.ID, c.domain.Name)
	case order.Key == nil:
		return nil, fmt.Errorf("identity: order: %s has no key", order.ID)
	case !names(order.Request, order.ID):
		return nil, identity.ErrUnnamed
	}
	for {
		chain, _, err := c.sign(ctx, c.now.Load(), order.Request, order.Key, order.ID)
		if err == nil {
			c.issued.Add(1)
			return chain, nil
		}
		if status.Code(err) != codes.ResourceExhausted || !sleep(ctx, rand.N(crowded)) {
			return nil, err
		}
	}
}

// names reports whether a request, which enrolment has verified, names one identity and
// asks for nothing else.
func names(request []byte, id string) bool {
	csr, err := x509.ParseCertificateRequest(request)
	if err != nil || len(csr.URIs) != 1 || csr.URIs[0].String() != id || len(csr.Subject.Names) > 0 {
		return false
	}
	if len(csr.DNSNames)+len(csr.EmailAddresses)+len(csr.IPAddresses) > 0 || len(csr.Extensions) != 1 {
		return false
	}
	// Of the kinds of names that there are, crypto/x509 reads four.
	var all []asn1.RawValue
	rest, err := asn1.Unmarshal(csr.Extensions[0].Value, &all)
	return err == nil && len(rest) == 0 && len(all) == 1
}

// explain says what Consul answered instead of a certificate, and what to do.
func (c *CA) explain(err error, id string) error {
	switch s := status.Convert(err); s.Code() {
	case codes.PermissionDenied, codes.Unauthenticated:
		return fmt.Errorf("identity: consul refuses to sign for %s: give xdsserver a token with service:write for it: %w", id, err)
	case codes.Unimplemented, codes.Unavailable:
		return fmt.Errorf("identity: consul does not sign for %s: its servers sign, at their gRPC port, which no client agent does: "+
			"say where a server has it (--consul-grpc): %w", id, err)
	default:
		return fmt.Errorf("identity: consul does not sign for %s: %w", id, err)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
