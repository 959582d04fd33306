package identity

import (
	"errors"
	"testing"
	"time"
)

func TestALimiterCountsWhatItHoldsBack(t *testing.T) {
	l := limiter{every: time.Second}
	now := time.Now()
	for i, want := range []struct {
		missed int
		ok     bool
	}{{0, true}, {0, false}, {0, false}, {2, true}, {0, false}} {
		if i == 3 {
			now = now.Add(time.Second)
		}
		if missed, ok := l.allow(now); missed != want.missed || ok != want.ok {
			t.Errorf("%d: got %d, %v, want %+v", i, missed, ok, want)
		}
	}
}

func TestNewsAreErrorsThatDifferInMoreThanNumbers(t *testing.T) {
	var n news
	for i, test := range []struct {
		text string
		want bool
	}{
		{"expired 1h0m5s ago", true}, {"expired 1h0m10s ago", false}, {"refused", true}, {"refused", false}, {"", false}, {"refused", true},
	} {
		var err error
		if test.text != "" {
			err = errors.New(test.text)
		}
		if got := n.differ(err); got != test.want {
			t.Errorf("%d: %q: got %v, want %v", i, test.text, got, test.want)
		}
	}
}
