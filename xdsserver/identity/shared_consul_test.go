//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package identity

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
)

// inConsul is a Shared in Consul's KV store.
type inConsul struct{ client *consul.Client }

var _ Shared = inConsul{}

const below = "ca/"

func (s inConsul) Read(name string) ([]byte, uint64, error) {
	pair, ok, err := s.client.Get(context.Background(), below+name)
	if err == nil && !ok {
		err = fs.ErrNotExist
	}
	return pair.Value, pair.Index, err
}

func (s inConsul) Write(name string, data []byte, index uint64) (uint64, error) {
	index, err := s.client.Put(context.Background(), below+name, data, index)
	if errors.Is(err, consul.ErrConflict) {
		err = ErrSharedConflict
	}
	return index, err
}

func (s inConsul) Remove(name string) error {
	for {
		_, index, err := s.Read(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = s.client.Delete(context.Background(), below+name, index)
		}
		if !errors.Is(err, consul.ErrConflict) {
			return err
		}
	}
}

func (s inConsul) List() ([]string, error) {
	pairs, err := s.client.List(context.Background(), below)
	names := make([]string, len(pairs))
	for i, p := range pairs {
		names[i] = strings.TrimPrefix(p.Key, below)
	}
	return names, err
}

func (s inConsul) Where(name string) string { return "consul:" + s.client.Key(below+name) }

func TestARootRotatesInConsulWhileLeavesAreIssuedAndVerifiedAllTheTime(t *testing.T) {
	agent := consultest.Start(t)
	client, err := consul.New(consul.Config{Address: agent.Address(), Logger: quiet})
	must(t, err)
	defer client.Close()
	var cas []*CA
	for _, name := range []string{"east", "west"} {
		ca, err := NewCA(Config{
			Dir: freshDir(t), Shared: inConsul{client}, Replica: name, Logger: quiet,
			LeafTTL: 5 * time.Second, IntermediateTTL: 20 * time.Second, RootTTL: time.Hour,
		})
		must(t, err)
		run(t, ca)
		cas = append(cas, ca)
	}
	if TokenPin(cas[0]) != TokenPin(cas[1]) {
		t.Fatal("two pins")
	}
	var leaves [][]*x509.Certificate
	issued, verified, bundles := 0, 0, map[uint64]bool{}
	live := func(until func() bool) {
		t.Helper()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(90 * time.Second); !until(); <-tick.C {
			if time.Now().After(deadline) {
				t.Fatalf("not within 90 s: %+v and %+v", cas[0].Status(), cas[1].Status())
			}
			for _, ca := range cas {
				leaves = append(leaves, issue(t, ca))
				issued++
			}
			for len(leaves) > 0 && time.Now().After(leaves[0][0].NotAfter.Add(-100*time.Millisecond)) {
				leaves = leaves[1:]
			}
			for _, ca := range cas {
				trust := ca.Trust()
				bundles[trust.Generation] = true
				for i := 0; i < len(leaves); i += 1 + len(leaves)/20 {
					verifies(t, trust.Bundle, leaves[i])
					verified++
				}
				for _, other := range cas {
					verifies(t, trust.Bundle, parse(t, other.Certificate().Certificate))
				}
			}
		}
	}
	settled := func(root string) func() bool {
		return func() bool {
			for _, ca := range cas {
				if s := ca.Status(); len(s.Roots) != 1 || s.Roots[0].Name != root || s.Problem != "" {
					return false
				}
			}
			return true
		}
	}
	pause := func() func() bool {
		end := time.Now().Add(2 * time.Second)
		return func() bool { return time.Now().After(end) }
	}
	live(pause())
	began := time.Now()
	must(t, cas[0].Rotate(context.Background(), Root))
	live(settled("root-2-east"))
	took := time.Since(began)
	live(pause())
	t.Logf("rotated in %v: %d leaves issued, %d verifications, %d bundles", took, issued, verified, len(bundles))
	if len(bundles) != 4 {
		t.Errorf("%d bundles, want 4", len(bundles))
	}
	pairs, err := client.List(context.Background(), below)
	must(t, err)
	for _, p := range pairs {
		if bytes.Contains(p.Value, []byte("PRIVATE KEY")) {
			t.Errorf("%s holds a private key", p.Key)
		}
	}
}

func TestARootsKeyIsExportedAndImportedAmongReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		dirs := map[string]string{"east": freshDir(t), "west": freshDir(t), "north": freshDir(t)}
		open := func(name string) (*CA, error) {
			return NewCA(Config{Dir: dirs[name], Shared: s, Replica: name, Logger: quiet, Wait: 5 * time.Second})
		}
		east, err := open("east")
		must(t, err)
		run(t, east)
		_, err = open("west")
		must(t, err)
		out := filepath.Join(t.TempDir(), "root.pem")
		wantError(t, ExportRoot(Export{Dir: dirs["west"], Out: out}), "the key of root-1-east is not in")
		must(t, ExportRoot(Export{Dir: dirs["east"], Out: out, Remove: true}))
		time.Sleep(poll)
		synctest.Wait()
		if st := east.Status(); st.RootOnline || st.IssuesUntil.IsZero() {
			t.Errorf("status %+v", st)
		}
		// Nobody can sign: the third waits in vain, and its folder knows the root.
		_, err = open("north")
		wantError(t, err, "no xdsserver with the key of root-1-east is up")
		imported, err := Import(ImportRequest{Dir: dirs["north"], Key: out})
		must(t, err)
		if imported != "the key of root-1-east" {
			t.Errorf("imported %s", imported)
		}
		north, err := open("north")
		must(t, err)
		run(t, north)
		must(t, east.Rotate(context.Background(), Intermediate))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		st := east.Status()
		if !strings.HasPrefix(st.Intermediates[0].Name, "intermediate-4") || st.RootOnline || !st.IssuesUntil.IsZero() || st.Problem != "" {
			t.Errorf("status %+v", st)
		}
		verifies(t, north.Trust().Bundle, issue(t, east))

		// An intermediate that was signed elsewhere is known to all.
		text, err := readPrivate(out)
		must(t, err)
		rootKey, err := decodeKey(text, nil)
		must(t, err)
		roots, err := decodeCertificates(text)
		must(t, err)
		key := newKey(t)
		cert, err := signing{now: time.Now(), ttl: 30 * 24 * time.Hour, key: key.Public(), issuer: roots[0], signer: rootKey}.authority(domain)
		must(t, err)
		keyText, err := encodeKey(key, nil)
		must(t, err)
		both := secretFile(t, string(encodeCertificate(cert))+string(keyText))
		wantError(t, importKey(dirs["east"], "", both), "say where they share it")
		_, err = Import(ImportRequest{Dir: dirs["east"], Key: both, Shared: s, Replica: "No"})
		wantError(t, err, "is no name of an xdsserver")
		_, err = Import(ImportRequest{Dir: dirs["east"], Key: both, Shared: s, Replica: "east"})
		must(t, err)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if chain := issue(t, east); !chain[1].Equal(cert) {
			t.Error("leaves come from another intermediate")
		}
		if s.state(t).active("north") == nil {
			t.Error("north has lost its own")
		}
	})
}
