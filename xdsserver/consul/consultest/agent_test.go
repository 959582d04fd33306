package consultest

import "testing"

func TestThreeServersElectALeader(t *testing.T) {
	servers := Cluster(t, 3)
	for _, s := range servers {
		s.Ready(t)
	}
	leaders := 0
	for _, s := range servers {
		if s.Leads(t) {
			leaders++
		}
	}
	if leaders != 1 {
		t.Errorf("got %d leaders, want 1", leaders)
	}
}
