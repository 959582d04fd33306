package enrol

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/peer"

	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

// childVariable makes this binary a server that is killed while it redeems a token:
// its value is the moment, "before", "after" or "signed".
const childVariable = "TULLE_ENROL_CHILD"

// A diskTokens keeps each record in a file, durably, and dies when it is told to.
type diskTokens struct{ dir, moment string }

func (d diskTokens) Tokens() (map[string][]byte, error) {
	files, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(d.dir, f.Name()))
		if err != nil {
			return nil, err
		}
		all[f.Name()] = b
	}
	return all, nil
}

func (d diskTokens) UpdateToken(id string, change func([]byte) ([]byte, error)) error {
	all, err := d.Tokens()
	if err != nil {
		return err
	}
	b, err := change(all[id])
	if err != nil {
		return err
	}
	if d.moment == "before" {
		die()
	}
	fresh := filepath.Join(filepath.Dir(d.dir), "fresh")
	if err := errors.Join(os.WriteFile(fresh, b, 0o600), os.Rename(fresh, filepath.Join(d.dir, id))); err != nil {
		return err
	}
	if d.moment == "after" {
		die()
	}
	return nil
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
	s, err := New(Config{Authority: ca, Tokens: diskTokens{os.Args[1], moment}, TokensAllowed: true})
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
			dir := filepath.Join(t.TempDir(), "tokens")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			s := newServer(t, func(c *Config) { c.Tokens = diskTokens{dir: dir} })
			text, _ := token(t, s, TokenRequest{Service: "voting"})
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
		})
	}
}
