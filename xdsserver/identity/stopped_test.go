package identity

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestAServerThatWasStoppedForLongGoesOn stops one at each phase, for longer than
// everything it had begun was good for.
func TestAServerThatWasStoppedForLongGoesOn(t *testing.T) {
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		before func(*testing.T, *CA)
		stop   time.Duration
		// the certificates in use when it is back, and after two days more
		now, later []string
	}{
		"with nothing under way": {
			func(*testing.T, *CA) {}, 45 * day,
			[]string{"root", "intermediate-2"},
			[]string{"root", "intermediate-2"},
		},
		"while clients hear of a new root": {
			func(t *testing.T, ca *CA) { must(t, ca.Rotate(context.Background(), Root)) }, 45 * day,
			// Clients may be back that have not heard of it yet: the old one first.
			[]string{"root", "intermediate-3"},
			[]string{"root-2", "intermediate-4"},
		},
		"while an old root retires": {
			func(t *testing.T, ca *CA) {
				stop := run(t, ca)
				must(t, ca.Rotate(context.Background(), Root))
				time.Sleep(settleMost)
				synctest.Wait()
				stop()
			},
			45 * day,
			[]string{"root-2", "intermediate-3"},
			[]string{"root-2", "intermediate-3"},
		},
		"until the root has expired": {
			func(*testing.T, *CA) {}, 11 * 365 * day,
			[]string{"root-2", "intermediate-2"},
			[]string{"root-2", "intermediate-2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := newMemory()
				ca, err := openOn(disk, nil)
				must(t, err)
				test.before(t, ca)
				time.Sleep(test.stop)
				ca, err = openOn(disk, nil)
				must(t, err)
				look := func(want []string) {
					t.Helper()
					verifies(t, ca.Trust().Bundle, issue(t, ca))
					verifies(t, ca.Trust().Bundle, parse(t, ca.Certificate().Certificate))
					s := ca.Status()
					if s.Problem != "" || s.Roots[0].Name != want[0] || s.Intermediates[0].Name != want[1] {
						t.Errorf("%s and %s, problem %q, want %q", s.Roots[0].Name, s.Intermediates[0].Name, s.Problem, want)
					}
				}
				look(test.now)
				run(t, ca)
				time.Sleep(2 * day)
				synctest.Wait()
				look(test.later)
				if got := len(ca.Trust().Bundle.Roots()); got != 1 {
					t.Errorf("%d roots, want 1", got)
				}
			})
		})
	}
}
