package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// put writes an identity as another program would.
func put(tb testing.TB, dir string, i *Identity) {
	tb.Helper()
	var svid, bundle bytes.Buffer
	for _, der := range i.Certificate.Certificate {
		_ = pem.Encode(&svid, &pem.Block{Type: typeCertificate, Bytes: der})
	}
	for _, der := range i.Bundle.DER() {
		_ = pem.Encode(&bundle, &pem.Block{Type: typeCertificate, Bytes: der})
	}
	key, err := x509.MarshalPKCS8PrivateKey(i.Certificate.PrivateKey)
	if err != nil {
		tb.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"svid.pem": svid.Bytes(), "bundle.pem": bundle.Bytes(), "key.pem": pem.EncodeToMemory(&pem.Block{Type: typeKey, Bytes: key}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
}

func TestFilesAreReadAgainWhenTheyChange(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, domain)
		p := start(t, nil, Config{Service: "voting"}.withFiles(dir))
		if _, err := p.wait(time.Minute); !contains(err, "key.pem: no such file or directory") {
			t.Errorf("without files: %v", err)
		}
		first := a.identity("voting")
		put(t, dir, first)
		if i := p.must(); !i.Certificate.Leaf.Equal(first.Certificate.Leaf) || i.ID.TrustDomain != domain {
			t.Errorf("got %v", i)
		}
		if err := p.Status().Err; err != nil {
			t.Errorf("status says %v", err)
		}
		second := a.identity("voting")
		put(t, dir, second)
		time.Sleep(pollFiles)
		synctest.Wait()
		if !p.Current().Certificate.Leaf.Equal(second.Certificate.Leaf) {
			t.Error("the new files are not taken")
		}
		next := newCA(t, nil, "next root")
		a.roots = append(a.roots, next.cert)
		put(t, dir, second.withBundle(a.bundle()))
		time.Sleep(pollFiles)
		synctest.Wait()
		if len(p.Current().Bundle.Roots()) != 2 {
			t.Error("the new bundle alone is not taken")
		}
		p.SetTrust(trustOf(a, time.Now().Add(time.Hour)))
		if len(p.Current().Bundle.Roots()) != 2 {
			t.Error("xdsserver's bundle is taken in place of the provider's")
		}
		_ = p.stop()
	})
}

// withFiles is the config with such a provider.
func (c Config) withFiles(dir string) Config {
	c.Provider = NewFiles(dir, slog.New(slog.DiscardHandler))
	return c
}

func TestFilesThatDoNotFitKeepTheLastThatDid(t *testing.T) {
	change := func(name string, f func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) { rewrite(t, filepath.Join(dir, name), f) }
	}
	garbage := func([]byte) []byte { return []byte("no") }
	for name, test := range map[string]struct {
		change func(t *testing.T, dir string)
		want   string
	}{
		"no certificate":       {change("svid.pem", garbage), "svid.pem: holds no certificate in PEM"},
		"a broken certificate": {change("svid.pem", func([]byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: typeCertificate, Bytes: []byte("x")}) }), "svid.pem: x509"},
		"no key":               {change("key.pem", garbage), "key.pem: holds no private key in PEM"},
		"an encrypted key": {change("key.pem", func([]byte) []byte {
			return pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})
		}), "its private key is encrypted"},
		"another key": {func(t *testing.T, dir string) {
			rewrite(t, filepath.Join(dir, "key.pem"), func([]byte) []byte { return keyPEM(t) })
		}, "is of another key"},
		"a key in the certificates": {change("svid.pem", func(b []byte) []byte {
			return append(pem.EncodeToMemory(&pem.Block{Type: typeKey, Bytes: []byte("x")}), b...)
		}), `svid.pem: holds a "PRIVATE KEY", want certificates`},
		"no bundle":         {change("bundle.pem", func([]byte) []byte { return nil }), "bundle.pem: holds no certificate"},
		"huge":              {change("bundle.pem", func([]byte) []byte { return make([]byte, maxState+1) }), "are the most"},
		"many certificates": {change("bundle.pem", func(b []byte) []byte { return bytes.Repeat(b, maxBlocks+1) }), "holds more than 32 certificates"},
		"a bundle that is a leaf": {func(t *testing.T, dir string) {
			svid, err := os.ReadFile(filepath.Join(dir, "svid.pem"))
			if err != nil {
				t.Fatal(err)
			}
			rewrite(t, filepath.Join(dir, "bundle.pem"), func([]byte) []byte { return svid })
		}, "certificate 0 is no CA"},
		"a key that everybody may read": {func(t *testing.T, dir string) { chmod(t, filepath.Join(dir, "key.pem"), 0o644) }, "everybody may read it (mode 0644): chmod 600"},
		"a file that is gone":           {func(t *testing.T, dir string) { _ = os.Remove(filepath.Join(dir, "svid.pem")) }, "svid.pem: no such file"},
		"the certificate of another service": {func(t *testing.T, dir string) {
			put(t, dir, newAuthority(t, domain).identity("web").withBundle(newAuthority(t, domain).bundle()))
		}, "signed by unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority(t, domain)
				good := a.identity("voting")
				put(t, dir, good)
				log := &logs{}
				f := NewFiles(dir, textLogger(log))
				p := start(t, nil, Config{Service: "voting", Provider: f})
				before := p.must()
				test.change(t, dir)
				time.Sleep(5 * pollFiles)
				synctest.Wait()
				if p.Current() != before {
					t.Errorf("got %v", p.Current())
				}
				if err := p.Status().Err; !contains(err, test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				if log.count("identity files ignored") != 1 {
					t.Errorf("want one line in the log:\n%s", log)
				}
				if strings.Contains(name, "everybody") {
					chmod(t, filepath.Join(dir, "key.pem"), 0o640)
				} else {
					put(t, dir, good)
				}
				time.Sleep(pollFiles)
				synctest.Wait()
				if err := p.Status().Err; err != nil {
					t.Errorf("mended: %v", err)
				}
				_ = p.stop()
			})
		})
	}
}

func keyPEM(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

func TestExpiredFilesAreNoIdentity(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, domain)
		put(t, dir, a.identity("voting"))
		p := start(t, nil, Config{Service: "voting"}.withFiles(dir))
		p.must()
		time.Sleep(25 * time.Hour)
		_, err := p.usable(t.Context())
		expired := new(ExpiredError)
		if want := "own certificate of spiffe://example.org/ns/default/svc/voting expired at 2000-01-02T00:00:00Z"; !contains(err, want) || !errors.As(err, &expired) {
			t.Errorf("got %v, want %q", err, want)
		}
		if strings.Contains(err.Error(), "xdsserver") {
			t.Errorf("%v names xdsserver, which has no part in it", err)
		}
		_ = p.stop()
		log := &logs{}
		q := start(t, nil, Config{Service: "voting", Provider: NewFiles(dir, textLogger(log))})
		if _, err := q.wait(time.Minute); !contains(err, "expired at 2000-01-02T00:00:00Z, 1h") {
			t.Errorf("from the start: %v", err)
		}
		if got := log.count("identity files ignored"); got != 1 {
			t.Errorf("logged %d times, want once:\n%s", got, log)
		}
		_ = q.stop()
	})
}

func TestAProviderThatEndsEndsTheSource(t *testing.T) {
	s, err := New(Config{Provider: broken{}, Logger: textLogger(&logs{})})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), nil); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("run: %v", err)
	}
	if _, err := s.Wait(t.Context()); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("wait: %v", err)
	}
}

func FuzzFiles(f *testing.F) {
	a := newAuthority(f, domain)
	dir := f.TempDir()
	put(f, dir, a.identity("voting"))
	set, err := NewFiles(dir, nil).read()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(set.svid, set.key, set.bundle)
	f.Add(set.key, set.svid, set.bundle)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n"), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, svid, key, bundle []byte) {
		i, err := (&fileSet{svid: svid, key: key, bundle: bundle}).identity()
		if err == nil && i.check() != nil {
			t.Errorf("read %v", i)
		}
	})
}
