package identity

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// doomed is a process that is killed before its n-th write, to its folder or to what is
// shared. Its signs of life are not counted, but end with it.
type doomed struct {
	left  atomic.Int64 // negative: never
	shelf *shelf
	disk  *memory
}

func (d *doomed) dead() bool { return d.left.Load() == 0 }

func (d *doomed) count() error {
	if d.dead() {
		return errCrash
	}
	d.left.Add(-1)
	return nil
}

// doomedShelf and doomedDisk are what it writes to.
type (
	doomedShelf struct {
		*shelf
		d *doomed
	}
	doomedDisk struct {
		*memory
		d *doomed
	}
)

func (s doomedShelf) Write(name string, data []byte, index uint64) (uint64, error) {
	if _, ok := beatOf(name); ok {
		if s.d.dead() {
			return 0, errCrash
		}
	} else if err := s.d.count(); err != nil {
		return 0, err
	}
	return s.shelf.Write(name, data, index)
}

func (s doomedShelf) Remove(name string) error {
	if err := s.d.count(); err != nil {
		return err
	}
	return s.shelf.Remove(name)
}

func (f doomedDisk) write(name string, data []byte) error {
	if err := f.d.count(); err != nil {
		return err
	}
	return f.memory.write(name, data)
}

func (f doomedDisk) remove(name string) error {
	if err := f.d.count(); err != nil {
		return err
	}
	return f.memory.remove(name)
}

// minutes are lives that end within a test of every crash.
func minutes(c *Config) {
	c.LeafTTL, c.IntermediateTTL, c.RootTTL = 10*time.Second, 2*time.Minute, 20*time.Hour
	c.Wait = 5 * time.Second
}

// TestACrashOfAnyReplicaAnywhereResumes kills one of two replicas before each of its
// writes, starts it again, and looks all along that everybody verifies everybody.
func TestACrashOfAnyReplicaAnywhereResumes(t *testing.T) {
	rotate := func(l Level) func(*replicas, string) {
		return func(r *replicas, victim string) {
			who := "east"
			if l == Intermediate {
				who = victim
			}
			if err := r.cas[who].Rotate(context.Background(), l); err != nil && !strings.Contains(err.Error(), errCrash.Error()) {
				r.t.Fatal(err)
			}
		}
	}
	west := func(r *replicas, victim string) {
		if victim == "east" {
			r.attempt("west")
		}
	}
	for name, scene := range map[string]struct {
		victim string
		// before are those who run when the victim is started anew, to be killed.
		before []string
		begin  func(*replicas, string)
		least  int
	}{
		"the first boot":                            {"east", nil, west, 8},
		"the first start of another":                {"west", []string{"east"}, west, 7},
		"the signing for another":                   {"east", []string{"east"}, west, 3},
		"a rotation of the root, of who has it":     {"east", []string{"east", "west"}, rotate(Root), 10},
		"a rotation of the root, of another":        {"west", []string{"west", "east"}, rotate(Root), 10},
		"a rotation of an intermediate, of another": {"west", []string{"east", "west"}, rotate(Intermediate), 7},
		"a rotation of an intermediate, by itself":  {"east", []string{"east", "west"}, rotate(Intermediate), 4},
	} {
		t.Run(name, func(t *testing.T) {
			for at := 0; ; at++ {
				completed := false
				synctest.Test(t, func(t *testing.T) {
					completed = crashOne(t, scene.victim, scene.before, scene.begin, at)
				})
				if t.Failed() {
					t.Fatalf("when killed before write %d", at)
				}
				if completed {
					if at < scene.least {
						t.Errorf("completed after %d writes, want %d at least: too little was tried", at, scene.least)
					}
					return
				}
			}
		})
	}
}

// attempt starts a replica that may fail to, since another is dead.
func (r *replicas) attempt(name string) {
	r.t.Helper()
	ca, err := r.open(name)
	if err != nil {
		if !strings.Contains(err.Error(), errCrash.Error()) && !strings.Contains(err.Error(), "ca import") &&
			!strings.Contains(err.Error(), "has not signed one yet") {
			r.t.Fatalf("%s: %v", name, err)
		}
		return
	}
	r.cas[name], r.stops[name] = ca, run(r.t, ca)
}

func crashOne(t *testing.T, victim string, before []string, begin func(*replicas, string), at int) bool {
	s := newShelf()
	r := newReplicas(t, s, minutes)
	if len(before) > 0 {
		r.start("east")
		if slices.Contains(before, "west") {
			r.start("west")
		}
		if slices.Contains(before, victim) {
			r.stop(victim)
		}
	}
	disk, ok := r.disks[victim].(*memory)
	if !ok {
		disk = newMemory()
	}
	d := &doomed{shelf: s, disk: disk}
	d.left.Store(int64(at))
	r.seen[victim], r.disks[victim] = doomedShelf{s, d}, doomedDisk{disk, d}
	r.attempt(victim)
	if r.cas[victim] != nil {
		begin(r, victim)
	}
	synctest.Wait()
	for range 40 {
		if d.dead() {
			break
		}
		r.live(time.Second, time.Second)
	}
	completed := !d.dead()
	if r.cas[victim] != nil && !completed {
		r.stop(victim)
	}
	if len(r.cas) > 0 {
		r.live(10*time.Second, time.Second)
	}
	r.seen[victim], r.disks[victim] = nil, disk
	if r.cas[victim] == nil {
		r.start(victim)
	}
	for _, name := range []string{"east", "west"} {
		if r.cas[name] == nil {
			r.start(name)
		}
	}
	r.live(30*time.Second, time.Second)
	r.stop(victim) // and what a start cleans up is clean
	r.start(victim)
	r.live(2*time.Minute+30*time.Second, 7*time.Second)
	r.calm()
	r.tidy(s)
	return completed
}

// tidy fails where something is left that the state does not name, or missing.
func (r *replicas) tidy(s *shelf) {
	r.t.Helper()
	st := s.state(r.t)
	want := []string{stateFile, beatFile("east"), beatFile("west")}
	keys := map[string][]string{}
	for _, c := range slices.Concat(st.Roots, st.Intermediates) {
		if c.Phase == Requested {
			want = append(want, requestFile(c.Name))
		} else {
			want = append(want, certFile(c.Name))
		}
		if owner := c.Name[strings.LastIndexByte(c.Name, '-')+1:]; c.Phase != Retiring {
			keys[owner] = append(keys[owner], keyFile(c.Name))
		}
	}
	slices.Sort(want)
	// One whose name the state has not come to is of a crash, and left alone.
	ahead := func(file string) bool {
		name := strings.TrimSuffix(strings.TrimSuffix(file, extCertificate), extKey)
		return name != file && !st.names(name) && !st.over(name)
	}
	if got, _ := s.List(); !slices.Equal(slices.DeleteFunc(got, ahead), want) {
		r.t.Errorf("shared are %q, want %q", got, want)
	}
	for name, disk := range r.disks {
		files, err := disk.list()
		must(r.t, err)
		got := slices.DeleteFunc(files, func(f string) bool { return !strings.HasSuffix(f, extKey) || ahead(f) })
		if slices.Sort(keys[name]); !slices.Equal(got, keys[name]) {
			r.t.Errorf("%s has the keys %q, want %q", name, got, keys[name])
		}
	}
}

func TestOfReplicasThatStartAtOnceOneMakesTheTrustDomain(t *testing.T) {
	for _, other := range []string{"root", "intermediate", stateFile} {
		t.Run("when the other comes at "+other, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShelf()
				r := newReplicas(t, s, nil)
				came := false
				s.before = func(name string) error {
					if strings.HasPrefix(name, other) && !came {
						came = true
						r.start("west")
					}
					return nil
				}
				r.start("east")
				r.check()
				time.Sleep(3 * time.Second)
				synctest.Wait()
				r.calm()
				if got := s.state(t); len(got.Roots) != 1 || got.Roots[0].Name != "root-1-west" || got.Generation != 1 {
					t.Errorf("state %+v", got)
				}
				r.stop("east")
				r.start("east")
				r.tidy(s)
			})
		})
	}
	t.Run("all together", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newReplicas(t, newShelf(), nil)
			names := []string{"a", "b", "c", "d", "e"}
			opened := make(chan *CA, len(names))
			for _, name := range names {
				r.disks[name] = newMemory()
			}
			for _, name := range names {
				go func() {
					ca, err := r.open(name)
					if err != nil {
						t.Error(err)
						opened <- nil
						return
					}
					opened <- ca
				}()
			}
			// Whoever has won must run, for the others to be signed for.
			for range names {
				if ca := <-opened; ca != nil {
					name := ca.config.Replica
					r.cas[name], r.stops[name] = ca, run(t, ca)
				}
			}
			time.Sleep(3 * time.Second)
			synctest.Wait()
			r.check()
			r.calm()
		})
	})
}

func TestEveryLostRaceIsRunAgain(t *testing.T) {
	for at := 0; ; at++ {
		done := false
		synctest.Test(t, func(t *testing.T) {
			s := newShelf()
			r := newReplicas(t, s, minutes)
			n := 0
			// Another writes first: the state is another's, though it says the same.
			s.before = func(name string) error {
				if _, ok := beatOf(name); ok {
					return nil
				}
				if n++; n-1 != at {
					return nil
				}
				if v, ok := s.values[stateFile]; name == stateFile && ok {
					s.set(func() { s.index++; s.values[name] = shelved{data: v.data, index: s.index} })
					return nil
				}
				return ErrSharedConflict
			}
			r.start("east", "west")
			must(t, r.cas["east"].Rotate(context.Background(), Root))
			r.live(3*time.Minute, 3*time.Second)
			r.calm()
			if got := s.state(t).rootIn(Active).Name; !strings.HasPrefix(got, "root-2") && !strings.HasPrefix(got, "root-3") {
				t.Errorf("%s is active", got)
			}
			for _, name := range []string{"east", "west"} {
				r.stop(name)
				r.start(name)
			}
			r.live(10*time.Second, 5*time.Second)
			r.tidy(s)
			done = n <= at
		})
		if t.Failed() {
			t.Fatalf("when write %d is a lost race", at)
		}
		if done {
			if at < 15 {
				t.Errorf("%d writes only", at)
			}
			return
		}
	}
}

func TestAStoreThatAnswersWithAnErrorAndWritesAllTheSame(t *testing.T) {
	for at := range 30 {
		synctest.Test(t, func(t *testing.T) {
			s := newShelf()
			r := newReplicas(t, s, minutes)
			n := 0
			r.seen["east"] = liar{shelf: s, lies: func(string) bool { n++; return n-1 == at }}
			r.start("east", "west")
			if err := r.cas["east"].Rotate(context.Background(), Root); err != nil && !errors.Is(err, errAway) {
				t.Fatal(err)
			}
			r.live(3*time.Minute, 3*time.Second)
			r.calm()
			r.stop("east")
			n = at + 1 // what is lost now would be told of for a while yet
			r.start("east")
			r.live(10*time.Second, 5*time.Second)
			r.tidy(s)
		})
		if t.Failed() {
			t.Fatalf("when the answer to write %d is lost", at)
		}
	}
}

// liar loses the answers to some writes.
type liar struct {
	*shelf
	lies func(name string) bool
}

func (l liar) Write(name string, data []byte, index uint64) (uint64, error) {
	index, err := l.shelf.Write(name, data, index)
	if _, beat := beatOf(name); err == nil && !beat && l.lies(name) {
		return 0, errAway
	}
	return index, err
}
