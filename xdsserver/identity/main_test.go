package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	domain = "tulle.local"
	voting = "spiffe://tulle.local/ns/default/svc/voting"
)

var quiet = slog.New(slog.DiscardHandler)

// logged collects what is logged.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError fails unless err says all of texts.
func wantError(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", texts)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

// inMemory makes a CA that ends with the test.
func inMemory(t testing.TB, change func(*Config)) *CA {
	t.Helper()
	c := Config{Logger: quiet}
	if change != nil {
		change(&c)
	}
	ca, err := NewCA(c)
	must(t, err)
	return ca
}

// issue issues a leaf for voting and parses its chain.
func issue(t testing.TB, a Authority) []*x509.Certificate {
	t.Helper()
	chain, err := a.Issue(context.Background(), Order{ID: voting, Key: &newKey(t).PublicKey})
	must(t, err)
	return parse(t, chain)
}

func parse(t testing.TB, ders [][]byte) []*x509.Certificate {
	t.Helper()
	certs := make([]*x509.Certificate, len(ders))
	for i, der := range ders {
		cert, err := x509.ParseCertificate(der)
		must(t, err)
		certs[i] = cert
	}
	return certs
}

func verifies(t testing.TB, b *spiffe.Bundle, chain []*x509.Certificate) {
	t.Helper()
	if _, err := b.Verify(chain); err != nil {
		t.Fatalf("at %s: %v", time.Now().UTC(), err)
	}
}

// run runs an authority until the test ends.
func run(t testing.TB, a Authority) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}
