package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// keeper is who keeps an issuing CA in files, as cert-manager does.
type keeper struct {
	t      *testing.T
	dir    string
	config FilesConfig
	root   *x509.Certificate
	signer crypto.Signer
	ttl    time.Duration // of issuing certificates
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	dir := t.TempDir()
	k := &keeper{t: t, dir: dir, ttl: 100 * time.Hour, config: FilesConfig{
		TrustDomain: domain,
		Certificate: filepath.Join(dir, "tls.crt"),
		Key:         filepath.Join(dir, "tls.key"),
		Bundle:      filepath.Join(dir, "ca.crt"),
		Logger:      quiet,
	}}
	k.newRoot()
	k.bundle(k.root)
	k.replace(newKey(t))
	return k
}

func (k *keeper) newRoot() {
	key := newKey(k.t)
	root, err := signing{now: time.Now(), ttl: 1000 * time.Hour, key: key.Public(), signer: key}.authority(domain)
	must(k.t, err)
	k.root, k.signer = root, key
}

func (k *keeper) bundle(roots ...*x509.Certificate) {
	var text []byte
	for _, r := range roots {
		text = append(text, encodeCertificate(r)...)
	}
	k.write(k.config.Bundle, text)
}

// replace writes an issuing certificate of a key, and the key.
func (k *keeper) replace(key crypto.Signer) *x509.Certificate {
	k.t.Helper()
	cert, err := signing{now: time.Now(), ttl: k.ttl, key: key.Public(), issuer: k.root, signer: k.signer}.authority(domain)
	must(k.t, err)
	k.write(k.config.Certificate, encodeCertificate(cert))
	k.key(key)
	return cert
}

func (k *keeper) key(key crypto.Signer) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(k.t, err)
	k.write(k.config.Key, pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}))
}

func (k *keeper) write(path string, data []byte) { must(k.t, os.WriteFile(path, data, 0o600)) }

func TestFilesSignWithWhatTheyHold(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	for name, key := range map[string]crypto.Signer{"P-256": newKey(t), "P-384": p384, "RSA": rsaKey, "Ed25519": ed} {
		t.Run(name, func(t *testing.T) {
			k := newKeeper(t)
			cert := k.replace(key)
			f, err := NewFiles(k.config)
			must(t, err)
			chain := issue(t, f)
			must(t, spiffe.CheckSVID(chain[0]))
			verifies(t, f.Trust().Bundle, chain)
			if len(chain) != 2 || !chain[1].Equal(cert) {
				t.Errorf("chain of %d", len(chain))
			}
			own := parse(t, f.Certificate().Certificate)
			verifies(t, f.Trust().Bundle, own)
			if len(own) != 3 || !own[2].Equal(k.root) {
				t.Errorf("own chain of %d", len(own))
			}
			s := f.Status()
			if s.Kind != "files" || s.Issued != 1 || len(s.Roots) != 1 || len(s.Intermediates) != 1 || !s.IssuesUntil.Equal(cert.NotAfter) || s.Problem != "" {
				t.Errorf("status %+v", s)
			}
		})
	}
}

func TestFilesMayHoldARootThatSignsLeavesItself(t *testing.T) {
	k := newKeeper(t)
	k.write(k.config.Certificate, encodeCertificate(k.root))
	k.key(k.signer)
	f, err := NewFiles(k.config)
	must(t, err)
	chain := issue(t, f)
	verifies(t, f.Trust().Bundle, chain)
	if len(chain) != 1 || !f.Status().RootOnline {
		t.Errorf("chain of %d, status %+v", len(chain), f.Status())
	}
}

func TestFilesThatDoNotBelongTogetherAreRefused(t *testing.T) {
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	must(t, err)
	for name, test := range map[string]struct {
		damage func(*keeper)
		want   []string
	}{
		"a key that every user may read": {
			func(k *keeper) { must(k.t, os.Chmod(k.config.Key, 0o644)) },
			[]string{"every user has access to", "tls.key", "chmod 600", "defaultMode: 0400"},
		},
		"another key":              {func(k *keeper) { k.key(newKey(k.t)) }, []string{"tls.key is not the key of the certificate in"}},
		"a key that is cut off":    {func(k *keeper) { must(k.t, os.Truncate(k.config.Key, 50)) }, []string{"tls.key holds no whole private key"}},
		"a weak key":               {func(k *keeper) { k.key(weak) }, []string{"tls.key holds a private key that is too weak"}},
		"no key":                   {func(k *keeper) { must(k.t, os.Remove(k.config.Key)) }, []string{"tls.key", "no such file"}},
		"a certificate cut off":    {func(k *keeper) { must(k.t, os.Truncate(k.config.Certificate, 50)) }, []string{"tls.crt holds no whole certificate"}},
		"a bundle that is empty":   {func(k *keeper) { must(k.t, os.Truncate(k.config.Bundle, 0)) }, []string{"ca.crt holds no whole certificate"}},
		"a bundle of another root": {func(k *keeper) { k.newRoot(); k.bundle(k.root) }, []string{"tls.crt does not lead to a root in the bundle"}},
		"a certificate that is no CA's": {
			func(k *keeper) {
				key := newKey(k.t)
				leaf, err := signing{now: time.Now(), ttl: time.Hour, key: key.Public(), issuer: k.root, signer: k.signer}.leaf(voting)
				must(k.t, err)
				k.write(k.config.Certificate, encodeCertificate(leaf))
				k.key(key)
			},
			[]string{"tls.crt holds a certificate that may not sign others"},
		},
		"a CA that may sign for host names only": {
			func(k *keeper) {
				key := newKey(k.t)
				cert, err := sign(&x509.Certificate{
					SerialNumber: serial(), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
					IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
					PermittedDNSDomainsCritical: true, PermittedURIDomains: []string{"example.org"},
				}, k.root, key.Public(), k.signer)
				must(k.t, err)
				k.write(k.config.Certificate, encodeCertificate(cert))
				k.key(key)
			},
			[]string{"holds a CA whose certificates nobody would accept"},
		},
		"no trust domain": {func(k *keeper) { k.config.TrustDomain = "" }, []string{"FilesConfig.TrustDomain"}},
		"no path":         {func(k *keeper) { k.config.Bundle = "" }, []string{"FilesConfig.Bundle: name a file"}},
		"too short lives": {func(k *keeper) { k.config.LeafTTL = 1 }, []string{"FilesConfig.LeafTTL is 1ns"}},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeeper(t)
			test.damage(k)
			_, err := NewFiles(k.config)
			wantError(t, err, test.want...)
		})
	}
}

func TestFilesAreTakenUpTogetherAndTheLastGoodStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logged{}
		k := newKeeper(t)
		k.config.Logger = log.logger()
		f, err := NewFiles(k.config)
		must(t, err)
		run(t, f)
		first := issue(t, f)
		look := func() {
			time.Sleep(2*filesPoll + time.Millisecond)
			synctest.Wait()
		}

		second := k.replace(newKey(t))
		look()
		chain := issue(t, f)
		if !chain[1].Equal(second) {
			t.Error("the new certificate is not used")
		}
		verifies(t, f.Trust().Bundle, first)
		if tr := f.Trust(); tr.Generation != 1 || !tr.RenewBefore.IsZero() {
			t.Errorf("the bundle is the same, and the trust is %+v", tr)
		}

		k.key(newKey(t)) // one of two files
		look()
		if got := f.Status().Problem; !strings.Contains(got, "tls.key is not the key") {
			t.Errorf("problem %q", got)
		}
		look()
		if n := strings.Count(log.String(), "the one before stays"); n != 1 {
			t.Errorf("logged %d times, want once", n)
		}
		if !issue(t, f)[1].Equal(second) {
			t.Error("the last good one is gone")
		}

		// A new root comes beside the old one, then signs, then the old one goes.
		old, changed := k.root, f.Changed()
		k.newRoot()
		k.bundle(old, k.root)
		third := k.replace(newKey(t))
		look()
		select {
		case <-changed:
		default:
			t.Error("nobody was told of the new root")
		}
		s := f.Status()
		if s.Problem != "" || len(s.Roots) != 2 || s.Roots[0].Phase != Active || s.Roots[1].Phase != "" {
			t.Errorf("status %+v", s)
		}
		if !issue(t, f)[1].Equal(third) {
			t.Error("not issued from the new root")
		}
		verifies(t, f.Trust().Bundle, first)
		if tr := f.Trust(); tr.Generation != 2 || !first[0].NotBefore.Before(tr.RenewBefore) {
			t.Errorf("trust %+v", tr)
		}
		k.bundle(k.root)
		look()
		if _, err := f.Trust().Bundle.Verify(first); err == nil {
			t.Error("the old root is still trusted")
		}
		verifies(t, f.Trust().Bundle, parse(t, f.Certificate().Certificate))
		if got := f.Trust().RenewBefore; got.IsZero() {
			t.Error("the request to renew is gone")
		}
	})
}

func TestFilesRenewOwnCertificateAndTellWhenNobodyReplacesTheIssuers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t)
		k.ttl, k.config.LeafTTL = 4*time.Hour, time.Hour
		k.replace(newKey(t))
		f, err := NewFiles(k.config)
		must(t, err)
		run(t, f)
		own := f.Certificate()
		time.Sleep(30*time.Minute + filesPoll)
		synctest.Wait()
		if f.Certificate() == own {
			t.Error("own certificate was not renewed")
		}
		time.Sleep(160 * time.Minute)
		synctest.Wait()
		if got := f.Status().Problem; !strings.Contains(got, "before what is issued now should") {
			t.Errorf("problem %q", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		_, err = f.Issue(context.Background(), Order{ID: voting, Key: &newKey(t).PublicKey})
		wantError(t, err, "the issuing certificate expired at", "was not replaced in time")
	})
}
