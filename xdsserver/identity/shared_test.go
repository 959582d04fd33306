package identity

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errAway = errors.New("no answer")

// shelf is a Shared in memory.
type shelf struct {
	mu     sync.Mutex
	values map[string]shelved
	index  uint64
	away   bool
	// before is asked before each write, if it is there, and may refuse it.
	before func(name string) error
	writes int
}

type shelved struct {
	data  []byte
	index uint64
}

var _ Shared = (*shelf)(nil)

// newShelf returns one that panics when a private key is written to it.
func newShelf() *shelf { return &shelf{values: map[string]shelved{}} }

func (s *shelf) Read(name string) ([]byte, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.values[name]
	switch {
	case s.away:
		return nil, 0, errAway
	case !ok:
		return nil, 0, fs.ErrNotExist
	}
	return slices.Clone(v.data), v.index, nil
}

func (s *shelf) Write(name string, data []byte, index uint64) (uint64, error) {
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if before != nil {
		if err := before(name); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.away:
		return 0, errAway
	case s.values[name].index != index:
		return 0, ErrSharedConflict
	case bytes.Contains(data, []byte("PRIVATE KEY")):
		panic("a private key left its folder: " + name)
	}
	s.index++
	s.writes++
	s.values[name] = shelved{data: slices.Clone(data), index: s.index}
	return s.index, nil
}

func (s *shelf) Remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return errAway
	}
	delete(s.values, name)
	return nil
}

func (s *shelf) List() ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, errAway
	}
	return slices.Sorted(maps.Keys(s.values)), nil
}

func (*shelf) Where(name string) string { return "shelf:" + name }

func (s *shelf) set(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

// state is what is shared.
func (s *shelf) state(t testing.TB) *state {
	t.Helper()
	raw, _, err := s.Read(stateFile)
	must(t, err)
	st, err := decodeState(raw)
	must(t, err)
	return st
}

// replicas are the xdsservers of a mesh, each with a folder that outlives it.
type replicas struct {
	t     *testing.T
	shelf Shared
	// change is made to each one's Config.
	change func(*Config)
	// seen is what a replica sees of shelf, where that is not all.
	seen  map[string]Shared
	disks map[string]storage
	cas   map[string]*CA
	stops map[string]func()
	// issued is the last leaf of each intermediate, which is valid the longest.
	issued map[string][]*x509.Certificate
}

func newReplicas(t *testing.T, shelf Shared, change func(*Config)) *replicas {
	return &replicas{t: t, shelf: shelf, change: change, seen: map[string]Shared{}, disks: map[string]storage{}, cas: map[string]*CA{}, stops: map[string]func(){}, issued: map[string][]*x509.Certificate{}}
}

// open opens a replica that does not run.
func (r *replicas) open(name string) (*CA, error) {
	if r.disks[name] == nil {
		r.disks[name] = newMemory()
	}
	return openOn(r.disks[name], func(c *Config) {
		if c.Shared, c.Replica = r.shelf, name; r.seen[name] != nil {
			c.Shared = r.seen[name]
		}
		if r.change != nil {
			r.change(c)
		}
	})
}

// start opens replicas and runs them.
func (r *replicas) start(names ...string) {
	r.t.Helper()
	for _, name := range names {
		ca, err := r.open(name)
		if err != nil {
			r.t.Fatalf("%s: %v", name, err)
		}
		r.cas[name], r.stops[name] = ca, run(r.t, ca)
	}
	synctest.Wait()
}

func (r *replicas) stop(name string) {
	r.stops[name]()
	delete(r.cas, name)
}

// check has every replica issue, and verifies what it issues, what was issued before and
// xdsservers' own certificates with everybody's bundle.
func (r *replicas) check() {
	r.t.Helper()
	maps.DeleteFunc(r.issued, func(_ string, c []*x509.Certificate) bool { return time.Now().After(c[0].NotAfter) })
	pins := map[[32]byte]bool{}
	for _, ca := range r.cas {
		chain := issue(r.t, ca)
		r.issued[chain[1].Subject.CommonName] = chain
		pins[TokenPin(ca)] = true
	}
	for name, ca := range r.cas {
		b := ca.Trust().Bundle
		for _, chain := range r.issued {
			if _, err := b.Verify(chain); err != nil {
				r.t.Fatalf("at %s with the bundle of %s, a leaf from %s: %v", time.Now().UTC(), name, chain[1].Subject, err)
			}
		}
		for of, other := range r.cas {
			if _, err := b.Verify(parse(r.t, other.Certificate().Certificate)); err != nil {
				r.t.Fatalf("at %s with the bundle of %s, the own certificate of %s: %v", time.Now().UTC(), name, of, err)
			}
		}
	}
	if len(pins) > 1 {
		r.t.Fatalf("at %s there are %d pins", time.Now().UTC(), len(pins))
	}
}

// live lets time pass and checks all along.
func (r *replicas) live(d, every time.Duration) {
	r.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(every)
		synctest.Wait()
		r.check()
	}
}

// calm fails when a replica has a problem, or knows another state than the others.
func (r *replicas) calm() {
	r.t.Helper()
	generations := map[uint64]bool{}
	for name, ca := range r.cas {
		s := ca.Status()
		if s.Problem != "" {
			r.t.Errorf("%s has a problem: %s", name, s.Problem)
		}
		if generations[s.Generation] = true; s.Generation != ca.Trust().Generation {
			r.t.Errorf("%s: generation %d, and %d in its trust", name, s.Generation, ca.Trust().Generation)
		}
		for _, other := range r.cas {
			if !ca.Trust().Bundle.Equal(other.Trust().Bundle) {
				r.t.Errorf("%s has another bundle", name)
			}
		}
	}
	if len(generations) != 1 {
		r.t.Errorf("generations %v, want one", generations)
	}
}

func hours(c *Config) {
	c.LeafTTL, c.IntermediateTTL, c.RootTTL = time.Hour, 6*time.Hour, 5*24*time.Hour
}

func TestReplicasHaveOneTrustDomainAndIntermediatesOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		r := newReplicas(t, s, nil)
		r.start("east", "west", "north")
		time.Sleep(30 * time.Second) // each has seen the others' signs of life
		synctest.Wait()
		r.check()
		r.calm()
		keys := map[string]bool{}
		for name, ca := range r.cas {
			keys[issue(t, ca)[1].Subject.CommonName] = true
			st := ca.Status()
			if st.RootOnline != (name == "east") || st.Replica != name || len(st.Replicas) != 3 || st.Intermediates[0].Replica != name {
				t.Errorf("status of %s: %+v", name, st)
			}
			for _, o := range st.Replicas {
				if !o.Live || o.RootOnline != (o.Name == "east") {
					t.Errorf("%s sees %+v", name, o)
				}
			}
		}
		if len(keys) != 3 {
			t.Errorf("%d intermediates issue, want 3", len(keys))
		}
		want := []string{
			"intermediate-1-east.pem", "intermediate-2-west.pem", "intermediate-3-north.pem",
			"replica-east.json", "replica-north.json", "replica-west.json", "root-1-east.pem", "state.json",
		}
		if got, _ := s.List(); !slices.Equal(got, want) {
			t.Errorf("shared are %q, want %q", got, want)
		}
		if got := names(r.disks["west"].(*memory)); !slices.Contains(got, "intermediate-2-west.key") || slices.Contains(got, "root-1-east.key") {
			t.Errorf("west's folder holds %q", got)
		}
	})
}

func TestReplicasRotateTheirIntermediatesApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		r := newReplicas(t, s, hours)
		r.start("east", "west")
		must(t, r.cas["west"].Rotate(context.Background(), Intermediate))
		wantError(t, r.cas["west"].Rotate(context.Background(), Intermediate), "under way")
		if p := r.cas["west"].Status().Rotation; p == nil || p.Phase != Requested || !strings.Contains(p.Waiting, "root-1-east") {
			t.Errorf("rotation %+v", p)
		}
		if p := r.cas["east"].Status().Rotation; p != nil {
			t.Errorf("east shows the rotation of west: %+v", p)
		}
		r.live(20*time.Second, time.Second)
		if got := r.cas["west"].Status().Intermediates[0].Name; got != "intermediate-3-west" {
			t.Errorf("west issues from %s", got)
		}
		if got := r.cas["east"].Status().Intermediates[0].Name; got != "intermediate-1-east" {
			t.Errorf("east issues from %s", got)
		}
		r.live(7*time.Hour, 7*time.Minute)
		r.calm()
		// Each is replaced every three hours, and nothing is left behind.
		if n := len(s.state(t).Intermediates); n > 4 {
			t.Errorf("%d intermediates", n)
		}
		if got, _ := s.List(); len(got) > 4+4 {
			t.Errorf("shared are %q", got)
		}
		for name, disk := range r.disks {
			if got, _ := disk.list(); len(got) > 8 {
				t.Errorf("%s has %q", name, got)
			}
		}
	})
}

func TestRotationOfTheRootReachesEveryReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := make(chan struct{})
		s := newShelf()
		r := newReplicas(t, s, func(c *Config) {
			hours(c)
			if c.Replica != "west" {
				return
			}
			c.Acknowledged = func(ctx context.Context, _ uint64) error {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-ready:
					return nil
				}
			}
		})
		r.start("east", "west", "north")
		wantError(t, r.cas["west"].Rotate(context.Background(), Root), "the key of root-1-east is not here but with east")
		pin := TokenPin(r.cas["north"])
		must(t, r.cas["east"].Rotate(context.Background(), Root))
		r.live(2*time.Minute, time.Second)
		rot := r.cas["north"].Status().Rotation
		if rot == nil || rot.Phase != Prepared || rot.Waiting != "the new root to be acknowledged by the clients of west" {
			t.Errorf("rotation %+v", rot)
		}
		r.calm()
		if got := r.cas["east"].Trust().Generation; got != 2 {
			t.Errorf("generation %d, want 2", got)
		}
		close(ready)
		r.live(30*time.Second, 500*time.Millisecond)
		r.calm()
		for name, ca := range r.cas {
			st := ca.Status()
			if st.Roots[0].Name != "root-2-east" || st.Generation != 3 || st.Rotation == nil || st.Rotation.Phase != Active {
				t.Errorf("%s after the activation: %+v", name, st)
			}
			if TokenPin(ca) != pin {
				t.Errorf("%s has left the old root at once", name)
			}
		}
		r.live(70*time.Minute, 11*time.Second)
		r.calm()
		if got := len(r.cas["west"].Trust().Bundle.Roots()); got != 1 || TokenPin(r.cas["west"]) == pin {
			t.Errorf("%d roots after the last leaf expired", got)
		}
		if got := len(s.state(t).Intermediates); got != 3 {
			t.Errorf("%d intermediates", got)
		}
	})
}

func TestAReplicaThatMissedTheRotationSwitchesWhenItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, newShelf(), hours)
		r.start("east", "west", "north")
		r.check()
		r.stop("west")
		time.Sleep(beatMost + 5*time.Second)
		must(t, r.cas["east"].Rotate(context.Background(), Root))
		r.live(30*time.Second, time.Second)
		if got := r.cas["north"].Status().Roots[0].Name; got != "root-2-east" {
			t.Fatalf("%s is active", got)
		}
		if rot := r.cas["east"].Status().Rotation; !strings.Contains(rot.Waiting, "and west to hear of the new one") {
			t.Errorf("rotation %+v", rot)
		}
		// Leaves of the one that is stopped, and those of the others, go on.
		r.live(2*time.Hour, 10*time.Minute)
		if got := len(r.cas["east"].Trust().Bundle.Roots()); got != 2 {
			t.Fatalf("%d roots, while west may still issue under the old one", got)
		}
		r.start("west")
		r.live(20*time.Second, time.Second)
		if root := r.cas["west"].view.Load().active.record.Root; root != "root-2-east" {
			t.Errorf("west issues under %s", root)
		}
		r.live(70*time.Minute, time.Minute)
		r.calm()
		if got := len(r.cas["east"].Trust().Bundle.Roots()); got != 1 {
			t.Errorf("%d roots", got)
		}
	})
}

func TestAReplicaThatNeverComesBackIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		r := newReplicas(t, s, hours)
		r.start("east", "west", "north")
		r.stop("west")
		must(t, r.cas["east"].Rotate(context.Background(), Root))
		r.live(7*time.Hour, 5*time.Minute)
		r.calm()
		for _, c := range s.state(t).Intermediates {
			if c.Replica == "west" {
				t.Errorf("%s is left of west", c.Name)
			}
		}
		st := r.cas["north"].Status()
		if len(st.Roots) != 1 || len(st.Replicas) != 2 {
			t.Errorf("%d roots and the replicas %+v", len(st.Roots), st.Replicas)
		}
		if got, _ := s.List(); slices.ContainsFunc(got, func(name string) bool { return strings.Contains(name, "west") }) {
			t.Errorf("shared are %q", got)
		}
	})
}

func TestReplicasRotateByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, newShelf(), func(c *Config) {
			c.LeafTTL, c.IntermediateTTL, c.RootTTL = 2*time.Minute, 10*time.Minute, 2*time.Hour
		})
		r.start("east", "west")
		roots := map[string]bool{}
		for range 10 {
			r.live(30*time.Minute, 19*time.Second)
			roots[r.cas["west"].Status().Roots[0].Name] = true
		}
		// A root of two hours is replaced 40 minutes before its end.
		if len(roots) != 4 {
			t.Errorf("roots %v in five hours", roots)
		}
	})
}
