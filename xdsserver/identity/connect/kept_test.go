package connect_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/identity/connect"
)

// start makes an authority that keeps a file, and does not run it.
func start(t *testing.T, c consul.Config, file string) (*connect.CA, error) {
	t.Helper()
	client, err := consul.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ca, err := connect.New(ctx, connect.Config{Client: client, File: file})
	if err == nil {
		t.Cleanup(func() { _ = ca.Close() })
	}
	return ca, err
}

func TestAStartWhileConsulIsAwayGoesByWhatItSaidLast(t *testing.T) {
	agent := consultest.Start(t)
	file := filepath.Join(t.TempDir(), "authority.json")
	before, err := start(t, consul.Config{Address: agent.Address()}, file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("got %v, %v, want a file of mode 0600", info, err)
	}
	agent.Stop(t)
	if _, err := start(t, consul.Config{Address: agent.Address()}, ""); err == nil {
		t.Fatal("it starts without Consul and without a file")
	}
	ca, err := start(t, consul.Config{Address: agent.Address()}, file)
	if err != nil {
		t.Fatal(err)
	}
	if ca.Trust().Domain() != before.Trust().Domain() || !slices.EqualFunc(ca.Certificate().Certificate, before.Certificate().Certificate, slices.Equal[[]byte]) {
		t.Errorf("another authority: got %+v, want %+v", ca.Status(), before.Status())
	}
	if ca.Status().Problem == "" {
		t.Error("nobody is told that Consul is away")
	}

	running, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ca.Run(running) }()
	defer func() { stop(); <-done }()
	agent.Restart(t)
	agent.Ready(t)
	tick, late := time.NewTicker(50*time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for ca.Status().Problem != "" {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("20 s after Consul's return: %s", ca.Status().Problem)
		}
	}
	issue(t, ca)
	changed := ca.Changed()
	rotate(t, agent)
	<-changed
	text, err := os.ReadFile(file)
	var now struct{ Roots [][]byte }
	if err == nil {
		err = json.Unmarshal(text, &now)
	}
	if err != nil || len(now.Roots) != 2 {
		t.Errorf("a new root is not kept: got %d roots, %v", len(now.Roots), err)
	}
}

func TestWhatWasKeptIsCheckedAsIfConsulHadSaidIt(t *testing.T) {
	agent := consultest.Start(t)
	file := filepath.Join(t.TempDir(), "authority.json")
	if _, err := start(t, consul.Config{Address: agent.Address()}, file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var whole struct{ Chain [][]byte }
	if err := json.Unmarshal(text, &whole); err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(whole.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(map[string]any)
		at     time.Time
		want   string
	}{
		{"as it is", func(map[string]any) {}, time.Now(), ""},
		{"expired", func(map[string]any) {}, leaf.NotAfter.Add(time.Second), "expired"},
		{"of another trust domain", func(m map[string]any) { m["trustDomain"] = "other.consul" }, time.Now(), "other.consul"},
		{"of another datacenter", func(m map[string]any) { m["datacenter"] = "dc2" }, time.Now(), "instead of"},
		{"of no datacenter", func(m map[string]any) { delete(m, "datacenter") }, time.Now(), "names no datacenter"},
		{"with another key", func(m map[string]any) { m["key"] = other }, time.Now(), "another one's"},
		{"with no key", func(m map[string]any) { delete(m, "key") }, time.Now(), "its key is damaged"},
		{"without a chain", func(m map[string]any) { delete(m, "chain") }, time.Now(), "lacks the root"},
		{"without roots", func(m map[string]any) { delete(m, "roots") }, time.Now(), "holds no certificate"},
		{"of another version", func(m map[string]any) { m["version"] = 2 }, time.Now(), "of version 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := map[string]any{}
			if err := json.Unmarshal(text, &m); err != nil {
				t.Fatal(err)
			}
			tt.change(m)
			changed, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			err = connect.CheckKept(changed, tt.at)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if err := connect.CheckKept(text[:len(text)/2], time.Now()); err == nil {
		t.Error("half of it is taken")
	}

	// Others could have put it there.
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	agent.Stop(t)
	if _, err := start(t, consul.Config{Address: agent.Address()}, file); err == nil {
		t.Error("a file that others may read is gone by")
	}
}

// A Consul that answers with another trust domain, and does not sign, is not passed over.
func TestWhatWasKeptOfAnotherConsulIsNotGoneBy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "authority.json")
	if _, err := start(t, consul.Config{Address: consultest.Start(t).Address()}, file); err != nil {
		t.Fatal(err)
	}
	other := consultest.Start(t, consultest.ACLs(management))
	// Everybody may ask for the roots, but not for who the agent is.
	if ca, err := start(t, consul.Config{Address: other.Address(), Datacenter: "dc1"}, file); err == nil {
		t.Errorf("got %s", ca.Trust().Domain().Name)
	}
	if _, err := start(t, consul.Config{Address: other.Address(), Token: management}, file); err != nil {
		t.Error(err)
	}
}
