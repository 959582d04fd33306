package identity

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
)

// enrolTimeout bounds one attempt at one server: its handshake, and the call.
const enrolTimeout = 10 * time.Second

// A NoProofError says that the configuration has no way to prove to a server who
// the process is, or none to know that it speaks to the right server.
type NoProofError struct {
	// Server is the target as configured.
	Server string
	text   string
}

func (e *NoProofError) Error() string { return e.text }

// A proof is what an attempt to enrol at one server rests on.
type proof struct {
	join *joining
	// token is its ID, empty without one.
	token string
	// attest adds what proves the process; nil over a unix socket, where the
	// kernel does.
	attest func(*identityv1.SignRequest)
}

// enrol asks the servers, in order, once each. The error says what each answered.
func (k *keeper) enrol(ctx context.Context) (*Identity, error) {
	var failed enrolError
	for _, server := range k.source.config.Servers {
		i, err := k.enrolAt(ctx, server)
		if err == nil {
			return i, nil
		}
		if _, ok := errors.AsType[*NoProofError](err); !ok { // it names the server itself
			err = fmt.Errorf("%s: %w", server, err)
		}
		failed = append(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// enrolError is what each server answered.
type enrolError []error

func (e enrolError) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return "enrolment: " + strings.Join(texts, "; ")
}

func (e enrolError) Unwrap() []error { return e }

// hopeless reports whether no server can ever enrol this process.
func (e enrolError) hopeless() bool {
	for _, err := range e {
		if _, ok := errors.AsType[*NoProofError](err); !ok {
			return false
		}
	}
	return true
}

func (k *keeper) enrolAt(ctx context.Context, server string) (*Identity, error) {
	s := k.source
	p, err := k.proofFor(server)
	if err != nil {
		return nil, err
	}
	if k.pending == nil || k.pending.token != p.token {
		if k.pending, err = newOrder(p.token); err != nil {
			return nil, err
		}
	}
	// A connection of its own, and a short one: nothing but this call may be made
	// without a certificate.
	opts := []grpc.DialOption{grpc.WithTransportCredentials(p.join), grpc.WithDisableServiceConfig(), grpc.WithUserAgent("tulle")}
	if s.config.Dial != nil {
		opts = append(opts, grpc.WithContextDialer(s.config.Dial))
	}
	conn, err := grpc.NewClient(grpcTarget(server), opts...)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	r := k.pending.request(s.config)
	if p.attest != nil {
		p.attest(r)
	}
	i, err := k.pending.sign(ctx, conn, s.config, r)
	domain, joined := p.join.outcome()
	switch {
	case err != nil && joined != nil:
		// What the handshake said, without the words grpc puts around it.
		return nil, joined
	case err != nil:
		return nil, err
	case i.ID.Service != s.config.Service:
		return nil, fmt.Errorf("signed a certificate of %s, the process is service %s", i.URI, s.config.Service)
	case i.ID.TrustDomain != domain:
		return nil, fmt.Errorf("signed a certificate of %s, its own is of trust domain %s", i.URI, domain)
	}
	k.pending = nil
	return i, nil
}

// proofFor decides how the process and a server prove to each other who they are.
// A token does both. A JWT proves the process, the kernel proves both ends of a
// unix socket, and a bundle proves the server.
func (k *keeper) proofFor(server string) (proof, error) {
	c := k.source.config
	token, ok, err := c.joinToken()
	if err != nil {
		return proof{}, err
	}
	if ok {
		text := token.Reveal()
		return proof{
			join: &joining{source: k.source, verify: pinned(token.Pin)}, token: token.IDText(),
			attest: func(r *identityv1.SignRequest) { r.Attestation = &identityv1.SignRequest_Token{Token: text} },
		}, nil
	}
	p := proof{}
	if c.JWTFile != "" {
		jwt, err := readSecret(c.JWTFile)
		if err != nil {
			return proof{}, fmt.Errorf("jwt file %w", err)
		}
		p.attest = func(r *identityv1.SignRequest) { r.Attestation = &identityv1.SignRequest_Jwt{Jwt: jwt} }
	}
	switch {
	case isUnix(server):
		p.join = &joining{source: k.source, verify: consistent, kernel: true}
		return p, nil
	case p.attest == nil:
		return proof{}, &NoProofError{Server: server, text: fmt.Sprintf("no way to prove who this process is to %s: "+
			"set TULLE_TOKEN_FILE (xdsserver token create --service %s), or use the unix socket of a local xdsserver", server, c.Service)}
	}
	verify, err := k.bundleProof()
	if err != nil {
		return proof{}, err
	}
	if verify == nil {
		return proof{}, &NoProofError{Server: server, text: fmt.Sprintf("no way to know that %s is xdsserver before a JWT is shown to it: "+
			"give its root as a bundle file (xdsserver ca export-root), or use the unix socket of a local xdsserver", server)}
	}
	p.join = &joining{source: k.source, verify: verify}
	return p, nil
}

// bundleProof verifies a server against the bundle the process has already: its
// own, its predecessor's, or the operator's. It returns nil where there is none.
func (k *keeper) bundleProof() (verifier, error) {
	if i := k.source.Current(); i != nil {
		return i.Bundle.Verify, nil
	}
	if k.known != nil {
		return k.known.Verify, nil
	}
	path := k.source.config.BundleFile
	if path == "" {
		return nil, nil
	}
	b, err := readFile(path, maxState)
	if err != nil {
		return nil, fmt.Errorf("bundle file %w", err)
	}
	roots, err := parseCertificates(b)
	if err != nil {
		return nil, fmt.Errorf("bundle file %s: %w", path, err)
	}
	return anyDomain(roots), nil
}

// isUnix reports whether a target is a unix socket.
func isUnix(target string) bool {
	return strings.HasPrefix(target, "unix:") || strings.HasPrefix(target, "unix-abstract:")
}

// grpcTarget gives a host:port to the dialer as it is, so that its name is looked
// up at each attempt.
func grpcTarget(target string) string {
	if strings.Contains(target, "://") {
		return target
	}
	if scheme, _, ok := strings.Cut(target, ":"); ok && resolver.Get(scheme) != nil {
		return target // "unix:path", "dns:name"
	}
	return "passthrough:///" + target
}

// restore takes what a predecessor left.
func (k *keeper) restore() {
	s := k.source
	if s.config.StateFile == "" {
		return
	}
	st, err := readState(s.config.StateFile, s.config.Service, time.Now())
	if err != nil {
		s.logger.Warn("identity on disk ignored", "error", err)
	}
	k.known = st.bundle
	if st.identity == nil {
		return
	}
	s.mu.Lock()
	s.publish(st.identity, fromState)
	s.mu.Unlock()
	s.logger.Info("identity", "identity", st.identity, "serial", st.identity.Serial(), "from", fromState)
}

// local says of which user a process on this machine has to be to be xdsserver.
func local(uid int) bool { return uid == 0 || uid == os.Geteuid() }
