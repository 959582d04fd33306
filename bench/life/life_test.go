package life

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTurnsLetEachGoFirst(t *testing.T) {
	var got [][]int
	err := turns(t.Context(), 4, 3, func(i, round int) error {
		if round == len(got) {
			got = append(got, nil)
		}
		got[round] = append(got[round], i)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]int{{0, 1, 2}, {1, 0, 2}, {2, 0, 1}, {2, 1, 0}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTurnsEndWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := turns(ctx, 4, 3, func(int, int) error {
		n++
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || n != 1 {
		t.Errorf("%d turns after the end, error %v", n-1, err)
	}
}
