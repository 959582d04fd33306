package kv

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
)

// redemptions is a token of some uses: a redemption is true as long as there are any.
func redemptions(uses int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return uses },
		Step: func(state, _, output any) (bool, any) {
			left := state.(int)
			if output.(bool) {
				return left > 0, left - 1
			}
			return left == 0, left
		},
	}
}

func TestTokenIsRedeemedAsOftenAsItMayBe(t *testing.T) {
	agent := consultest.Start(t)
	stores := [2]rig{open(t, agent, "tokens", ""), open(t, agent, "tokens", "")}
	for _, uses := range []int{1, 7} {
		t.Run(fmt.Sprint(uses, " of 100"), func(t *testing.T) {
			token, full := fmt.Sprint("token", uses), errors.New("used up")
			if err := stores[0].UpdateToken(token, func([]byte) ([]byte, error) { return []byte("."), nil }); err != nil {
				t.Fatal(err)
			}
			var wait sync.WaitGroup
			var mu sync.Mutex
			var ops []porcupine.Operation
			began, redeemed := time.Now(), 0
			for c := range 100 {
				wait.Go(func() {
					call := time.Since(began)
					err := stores[c%2].UpdateToken(token, func(old []byte) ([]byte, error) {
						if len(old) > uses {
							return nil, full
						}
						return append(slices.Clip(old), 'x'), nil
					})
					if err != nil && !errors.Is(err, full) {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						redeemed++
					}
					ops = append(ops, porcupine.Operation{ClientId: c, Call: call.Nanoseconds(), Output: err == nil, Return: time.Since(began).Nanoseconds()})
				})
			}
			wait.Wait()
			if redeemed != uses || !porcupine.CheckOperations(redemptions(uses), ops) {
				t.Errorf("redeemed %d times, want %d; or not one after the other", redeemed, uses)
			}
			all, err := stores[1].Tokens()
			if err != nil || len(all[token]) != uses+1 {
				t.Errorf("got %q, %v", all[token], err)
			}
		})
	}
}

func TestTokensAreBounded(t *testing.T) {
	agent := consultest.Start(t)
	s := open(t, agent, "bounded", "")
	for _, id := range []string{"..", "a/b", "a b", "%2e", "ä"} {
		if err := s.UpdateToken(id, func([]byte) ([]byte, error) { return []byte("x"), nil }); err == nil || !strings.Contains(err.Error(), "want 1 to 64 letters") {
			t.Errorf("id %q: got %v", id, err)
		}
	}
	kv := agent.Client(t).KV()
	var fill sync.WaitGroup
	for w := range 8 {
		fill.Go(func() {
			for i := w; i < maxTokens/50; i += 8 {
				if err := putAll(kv, "bounded/tokens", i*50, 50); err != nil {
					t.Error(err)
				}
			}
		})
	}
	fill.Wait()
	if err := s.UpdateToken("one-more", func([]byte) ([]byte, error) { return []byte("x"), nil }); err == nil || !strings.Contains(err.Error(), "which is the most") {
		t.Errorf("got %v", err)
	}
	if err := s.UpdateToken("t-00001", func([]byte) ([]byte, error) { return []byte("y"), nil }); err != nil {
		t.Errorf("one that is there: got %v", err)
	}
}
