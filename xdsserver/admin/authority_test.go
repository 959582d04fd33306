package admin

import (
	"testing"

	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

// Who looks after certificates is told which are another's.
func TestIntermediatesOfOtherXdsserversAreTold(t *testing.T) {
	for _, tt := range []struct{ name, replica, own, want string }{
		{"the own", "east", "east", ""},
		{"another's", "west", "east", "west"},
		{"that of an authority which is not shared", "", "", ""},
		{"a root", "", "east", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := authority(identity.Status{Replica: tt.own, Intermediates: []identity.Certificate{{Replica: tt.replica}}})
			if replica := got.GetIntermediates()[0].GetReplica(); replica != tt.want {
				t.Errorf("got %q, want %q", replica, tt.want)
			}
		})
	}
}
