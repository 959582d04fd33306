package consul_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
)

func TestKeysAreWrittenByCheckAndSet(t *testing.T) {
	agent := consultest.Start(t)
	c, err := consul.New(consul.Config{Address: agent.Address()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	index, err := c.Put(ctx, "a", []byte("1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(ctx, "a", []byte("2"), 0); !errors.Is(err, consul.ErrConflict) {
		t.Errorf("create what is there: got %v", err)
	}
	if _, err := c.Put(ctx, "a", []byte("2"), index+5); !errors.Is(err, consul.ErrConflict) {
		t.Errorf("another index: got %v", err)
	}
	if index, err = c.Put(ctx, "a", []byte("2"), index); err != nil {
		t.Fatal(err)
	}
	pair, ok, err := c.Get(ctx, "a")
	if err != nil || !ok || string(pair.Value) != "2" || pair.Index != index || pair.Key != "a" {
		t.Errorf("got %+v, %v, %v", pair, ok, err)
	}
	if err := c.Delete(ctx, "a", index-1); !errors.Is(err, consul.ErrConflict) {
		t.Errorf("delete at another index: got %v", err)
	}
	if err := c.Delete(ctx, "a", index); err != nil {
		t.Error(err)
	}

	leading := make(chan consul.Fence, 1)
	leadCtx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- c.Lead(leadCtx, consul.Leadership{Key: "lock", Name: "me", Do: func(ctx context.Context, f consul.Fence) error {
			leading <- f
			<-ctx.Done()
			return nil
		}})
	}()
	select {
	case f := <-leading:
		if err := f.Transact(ctx, c.PutOp("b", []byte("x"), 0)); err != nil {
			t.Error(err)
		}
		cancel()
		<-done
		if err := f.Transact(ctx, c.PutOp("c", []byte("x"), 0)); !errors.Is(err, consul.ErrConflict) {
			t.Errorf("a fence that has fallen: got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nobody leads")
	}
	cancel()
}
