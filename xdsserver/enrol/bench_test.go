package enrol

import (
	"crypto/x509"
	"path/filepath"
	"testing"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
)

func BenchmarkSignARenewal(b *testing.B) {
	s := newServer(b)
	s.limits = unlimited()
	caller := holder(b, s, "web")
	ctx := from(b, caller)
	req := &identityv1.SignRequest{Csr: csr(b, newKey(b), x509.CertificateRequest{})}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Sign(ctx, req); err != nil {
			b.Fatal(err)
		}
	}
}

// On a disk: a token is created, redeemed and audited.
func BenchmarkEnrolByToken(b *testing.B) {
	dir := b.TempDir()
	audit, err := OpenAudit(filepath.Join(dir, "audit.log"))
	if err != nil {
		b.Fatal(err)
	}
	defer audit.Close()
	tokens := openStore(b, dir)
	s := newServer(b, func(c *Config) { c.Tokens, c.Audit = tokens, audit })
	s.limits = unlimited()
	key := csr(b, newKey(b), x509.CertificateRequest{})
	b.ReportAllocs()
	for b.Loop() {
		text, join := token(b, s, TokenRequest{Service: "voting"})
		if _, err := s.Sign(from(b, remote()), byToken(text, "", key)); err != nil {
			b.Fatal(err)
		}
		if err := tokens.UpdateToken(join.IDText(), func([]byte) ([]byte, error) { return nil, nil }); err != nil {
			b.Fatal(err)
		}
	}
}
