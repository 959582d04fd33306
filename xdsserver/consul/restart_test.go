package consul_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
)

func testRestore(t *testing.T, s *site) {
	c := s.connect(t, consul.Config{Prefix: "restored"})
	client := s.Client(t)
	write := func(text string) {
		t.Helper()
		if _, err := client.KV().Put(&api.KVPair{Key: c.Key("x"), Value: []byte(text)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	write("saved")
	body, _, err := client.Snapshot().Save(nil)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := io.ReadAll(body)
	body.Close()
	if err != nil {
		t.Fatal(err)
	}
	w, _ := follow(t, c)
	for i := range 20 {
		write(fmt.Sprint("later ", i))
	}
	w.hears(t, 5*time.Second, "later 19")
	rest(time.Second) // it waits again: between two queries nothing tells of a restore
	began := time.Now()
	if err := client.Snapshot().Restore(nil, bytes.NewReader(snapshot)); err != nil {
		t.Fatal(err)
	}
	w.hears(t, 10*time.Second, "saved")
	t.Logf("the restored state was told after %v", time.Since(began))
	within(t, 20*time.Second, "write after the restore", func() bool {
		_, err := client.KV().Put(&api.KVPair{Key: c.Key("x"), Value: []byte("after")}, nil)
		return err == nil
	})
	w.hears(t, 10*time.Second, "after")
}

func testRestart(t *testing.T, s *site) {
	log := &journal{}
	c := s.connect(t, consul.Config{Prefix: "restarted", Logger: log.logger()})
	if _, err := c.Put(t.Context(), "x", []byte("before"), 0); err != nil {
		t.Fatal(err)
	}
	w, _ := follow(t, c)
	reigns, _ := lead(t, c, "lock")
	w.hears(t, 5*time.Second, "before")
	one := next(t, reigns, 10*time.Second)
	s.Kill(t)
	rest(2 * time.Second)
	told := w.take()
	if len(told) == 0 || len(told) > 3 {
		t.Errorf("told %q, want one line for each reason why there is no answer", told)
	}
	s.Restart(t)
	s.Ready(t)
	began := time.Now()
	w.hears(t, 5*time.Second, "before")
	t.Logf("told again %v after the agent was ready", time.Since(began))
	// The session is on Consul's disk: who led leads on, or again.
	within(t, 40*time.Second, "a leader", func() bool {
		if one.ctx.Err() == nil {
			return one.fence.Transact(t.Context(), c.PutOp("led", nil, 0)) == nil
		}
		select {
		case one = <-reigns:
		default:
		}
		return false
	})
	t.Logf("it leads %v after the agent was ready", time.Since(began))
}
