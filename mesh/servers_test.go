package mesh

import (
	"slices"
	"testing"
)

func TestProcessesSpreadOverServersThatAreEquals(t *testing.T) {
	const draws, socket = 3000, "unix:///run/tulle/xds.sock"
	first := map[string]int{}
	for range draws {
		got := drawn([]string{"10.0.0.5:18000", "10.0.0.6:18000", socket, "10.0.0.7:18000"})
		if len(got) != 4 || got[0] != socket || !slices.Contains(got, "10.0.0.6:18000") {
			t.Fatalf("got %v, want the socket first and everybody in it", got)
		}
		first[got[1]]++
	}
	for server, n := range first {
		// Six standard deviations: one run in half a billion is further away.
		if n < draws/3-155 || n > draws/3+155 {
			t.Errorf("%s is first in %d of %d draws, want a third", server, n, draws)
		}
	}
}

func TestTheOrderOfServersIsDrawnOnce(t *testing.T) {
	c, err := Config{Server: "a:1,b:1,c:1,d:1", StateDir: NoState}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.servers(), c.servers()) {
		t.Errorf("got %v, then %v", c.servers(), c.servers())
	}
}
