package enrol

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/peer"

	"github.com/tulle-mesh/tulle/xdsserver/identity"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

// childVariable makes this binary a server that is killed while it redeems a token:
// its value is the moment, "before", "after" or "signed".
const childVariable = "TULLE_ENROL_CHILD"

// A dying is a store that kills its process when it is told to.
type dying struct {
	*store.Store
	moment string
}

func (d dying) UpdateToken(id string, change func([]byte) ([]byte, error)) error {
	err := d.Store.UpdateToken(id, func(old []byte) ([]byte, error) {
		record, err := change(old)
		if d.moment == "before" {
			die()
		}
		return record, err
	})
	if d.moment == "after" {
		die()
	}
	return err
}

func openStore(tb testing.TB, dir string) *store.Store {
	tb.Helper()
	s, err := store.Open(store.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

// die is kill -9.
func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// child redeems a token and is killed.
func child() {
	ca, err := identity.NewCA(identity.Config{TrustDomain: domain})
	if err != nil {
		panic(err)
	}
	moment := os.Getenv(childVariable)
	tokens, err := store.Open(store.Config{Dir: os.Args[1]})
	if err != nil {
		panic(err)
	}
	s, err := New(Config{Authority: ca, Tokens: dying{tokens, moment}, TokensAllowed: true})
	if err != nil {
		panic(err)
	}
	key, err := base64.StdEncoding.DecodeString(os.Args[3])
	if err != nil {
		panic(err)
	}
	ctx := peer.NewContext(context.Background(), &peer.Peer{AuthInfo: &identity.Caller{UID: -1, Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7)}}})
	_, err = s.Sign(ctx, byToken(os.Args[2], "voting", key))
	fmt.Println("signed:", err)
	if moment == "signed" {
		die()
	}
}

// A server that is killed at any moment of a redemption lets the same process come
// again, and no other.
func TestTokenAfterAKillIsGoodForTheSameKeyOnly(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, moment := range []string{"before", "after", "signed"} {
		t.Run(moment, func(t *testing.T) {
			dir := t.TempDir()
			tokens := openStore(t, dir)
			text, join := token(t, newServer(t, func(c *Config) { c.Tokens = tokens }), TokenRequest{Service: "voting"})
			if err := tokens.Close(); err != nil {
				t.Fatal(err)
			}
			key, thief := csr(t, newKey(t), x509.CertificateRequest{}), csr(t, newKey(t), x509.CertificateRequest{})

			cmd := exec.Command(exe, dir, text, base64.StdEncoding.EncodeToString(key))
			cmd.Env = append(os.Environ(), childVariable+"="+moment)
			out, err := cmd.CombinedOutput()
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("%v: %s", err, out)
			}
			if signed := strings.Contains(string(out), "signed: <nil>"); signed != (moment == "signed") {
				t.Fatalf("signed %v: %s", signed, out)
			}

			tokens = openStore(t, dir)
			s := newServer(t, func(c *Config) { c.Tokens = tokens })
			if moment == "before" {
				// Nothing was given to anybody: whoever comes first has it.
				if _, err := s.Sign(from(t, remote()), byToken(text, "voting", key)); err != nil {
					t.Error(err)
				}
			}
			if _, err := s.Sign(from(t, remote()), byToken(text, "voting", thief)); err == nil {
				t.Error("another key is signed, too")
			}
			if _, err := s.Sign(from(t, remote()), byToken(text, "voting", key)); err != nil {
				t.Errorf("the same key comes again: %v", err)
			}
			listed, err := s.ListTokens()
			if err != nil || len(listed) != 1 || listed[0].ID != join.IDText() || listed[0].Used != 1 {
				t.Errorf("listed as %+v, %v, want one use", listed, err)
			}
		})
	}
}
