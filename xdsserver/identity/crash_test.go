package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

var errCrash = errors.New("crashed")

// failing is a storage of a process that is killed before its n-th write.
type failing struct {
	*memory

	writes atomic.Int64 // left; negative: never fails
}

func dying(m *memory, writes int) *failing {
	f := &failing{memory: m}
	f.writes.Store(int64(writes))
	return f
}

// dead counts a write, and reports whether it comes too late.
func (f *failing) dead() bool {
	if f.writes.Load() == 0 {
		return true
	}
	f.writes.Add(-1)
	return false
}

func (f *failing) write(name string, data []byte) error {
	if f.dead() {
		return errCrash
	}
	return f.memory.write(name, data)
}

func (f *failing) remove(name string) error {
	if f.dead() {
		return errCrash
	}
	return f.memory.remove(name)
}

// openOn opens a CA on files that outlive it.
func openOn(files storage, change func(*Config)) (*CA, error) {
	c := Config{Logger: quiet, TrustDomain: domain}
	if change != nil {
		change(&c)
	}
	p, err := c.check()
	if err != nil {
		return nil, err
	}
	return newCA(c, p, files)
}

// names are the certificates and keys in a storage.
func names(m *memory) []string {
	files, _ := m.list()
	return slices.DeleteFunc(files, func(name string) bool { return name == stateFile })
}

// scene begins something in a fresh CA; life is what goes on then by itself.
type scene struct {
	name  string
	begin func(*CA) error
	// days is how long to wait, and want the files that are there at the end.
	days int
	want []string
}

var scenes = []scene{
	{"first boot", func(*CA) error { return nil }, 0, []string{"intermediate.key", "intermediate.pem", "root.key", "root.pem"}},
	{
		"rotation of the intermediate",
		func(c *CA) error { return c.Rotate(context.Background(), Intermediate) }, 2,
		[]string{"intermediate-2.key", "intermediate-2.pem", "root.key", "root.pem"},
	},
	{
		"rotation of the root",
		func(c *CA) error { return c.Rotate(context.Background(), Root) }, 3,
		[]string{"intermediate-2.key", "intermediate-2.pem", "root-2.key", "root-2.pem"},
	},
	{
		"renewal of the intermediate at half of its life",
		func(*CA) error { return nil }, 17,
		[]string{"intermediate-2.key", "intermediate-2.pem", "root.key", "root.pem"},
	},
}

// play begins the scene and lives on, and returns the CA, or nil when it crashed
// before there was one. Leaves that were issued meanwhile are appended to issued.
func (s scene) play(t *testing.T, files storage, first bool, verify func(*CA)) {
	t.Helper()
	ca, err := openOn(files, nil)
	if err != nil {
		if !errors.Is(err, errCrash) {
			t.Fatalf("open: %v", err)
		}
		return
	}
	verify(ca)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	if first {
		if err := s.begin(ca); err != nil && !errors.Is(err, errCrash) {
			t.Fatalf("begin: %v", err)
		}
	}
	go func() { done <- ca.Run(ctx) }()
	for range s.days * 2 {
		time.Sleep(12 * time.Hour)
		synctest.Wait()
		verify(ca)
	}
	cancel()
	must(t, <-done)
}

// TestACrashAnywhereResumes kills a process before each of its writes, opens what
// it left behind, and looks that trust only ever grew from what was seen before.
func TestACrashAnywhereResumes(t *testing.T) {
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			for at := 0; ; at++ {
				completed := false
				synctest.Test(t, func(t *testing.T) { completed = s.crash(t, at) })
				if completed {
					if at < 4 {
						t.Errorf("completed after %d writes: nothing was tried", at)
					}
					return
				}
			}
		})
	}
}

// crash lets the scene crash at one write, resumes it, and reports whether it had
// completed without.
func (s scene) crash(t *testing.T, at int) bool {
	disk := newMemory()
	if s.name != scenes[0].name {
		_, err := openOn(disk, nil) // the first boot is a scene of its own
		must(t, err)
	}
	// What holders of a leaf know: it must verify against whatever is published.
	var bundles []*spiffe.Bundle
	generation := uint64(0)
	verify := func(ca *CA) {
		t.Helper()
		trust := ca.Trust()
		if trust.Generation < generation {
			t.Fatalf("write %d: generation went back from %d to %d", at, generation, trust.Generation)
		}
		generation = trust.Generation
		bundles = append(bundles, trust.Bundle)
		verifies(t, trust.Bundle, issue(t, ca))
		verifies(t, trust.Bundle, parse(t, ca.Certificate().Certificate))
		if n := len(trust.Bundle.Roots()); n > 2 {
			t.Fatalf("write %d: %d roots", at, n)
		}
	}
	crashing := dying(disk, at)
	s.play(t, crashing, true, verify)
	if crashing.writes.Load() > 0 {
		if got := names(disk); !slices.Equal(got, s.want) {
			t.Errorf("files %q, want %q", got, s.want)
		}
		return true
	}
	before := len(bundles)

	s.play(t, disk, false, verify)
	// Who saw a bundle before the crash, and nothing since, still shares a root with
	// the one after it, unless the rotation has ended properly.
	if before > 0 && before < len(bundles) {
		old, next := bundles[before-1].Roots(), bundles[before].Roots()
		if !slices.ContainsFunc(old, func(r *x509.Certificate) bool { return slices.ContainsFunc(next, r.Equal) }) {
			t.Errorf("write %d: the crash changed every root", at)
		}
	}
	ca, err := openOn(disk, nil)
	must(t, err)
	if s := ca.Status(); s.Problem != "" {
		t.Errorf("write %d: problem %q", at, s.Problem)
	}
	// What the state names is there, and nothing else but what a name was not
	// reached for yet.
	st, got := ca.view.Load().state, names(disk)
	for _, r := range slices.Concat(st.Roots, st.Intermediates) {
		for _, file := range []string{certFile(r.Name), keyFile(r.Name)} {
			if i := slices.Index(got, file); i >= 0 {
				got = slices.Delete(got, i, i+1)
			} else {
				t.Errorf("write %d: %s is missing", at, file)
			}
		}
	}
	next := []string{nameOf(Root, st.MadeRoots+1), nameOf(Intermediate, st.MadeIntermediates+1)}
	for _, file := range got {
		if !slices.Contains(next, file[:len(file)-4]) {
			t.Errorf("write %d: %s is of no use", at, file)
		}
	}
	return false
}

func TestAStateThatIsGoneIsNotMadeAnew(t *testing.T) {
	disk := newMemory()
	ca, err := openOn(disk, nil)
	must(t, err)
	kept := maps.Clone(disk.files)
	must(t, disk.remove(stateFile))
	wantError(t, ca.Rotate(context.Background(), Root), "state.json is gone: put it back from a backup")
	_, err = openOn(disk, nil)
	wantError(t, err, "is there, but memory:state.json is not", "move the folder away to begin a new trust domain")
	delete(kept, stateFile)
	if !maps.EqualFunc(kept, disk.files, slices.Equal) {
		t.Error("files were changed")
	}
}

func TestAnOldStateDoesNotOverwriteNewerKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newMemory()
		ca, err := openOn(disk, nil)
		must(t, err)
		old, err := disk.read(stateFile)
		must(t, err)
		must(t, ca.Rotate(context.Background(), Root))
		newer, err := disk.read("root-2.key")
		must(t, err)
		must(t, disk.write(stateFile, old)) // a backup is put back
		ca, err = openOn(disk, nil)
		must(t, err)
		must(t, ca.Rotate(context.Background(), Root))
		if got, err := disk.read("root-2.key"); err != nil || !slices.Equal(got, newer) {
			t.Error("the newer key was overwritten")
		}
		if got := ca.Status().Roots[1].Name; got != "root-3" {
			t.Errorf("the new root is %s", got)
		}
	})
}

func TestWhatFailsIsTriedAgainAndToldMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logged{}
		disk := dying(newMemory(), -1)
		ca, err := openOn(disk, func(c *Config) { c.Logger = log.logger() })
		must(t, err)
		run(t, ca)
		synctest.Wait()
		disk.writes.Store(0) // the disk is full
		time.Sleep(15*24*time.Hour + time.Hour)
		synctest.Wait()
		if got := ca.Status().Problem; !strings.Contains(got, errCrash.Error()) {
			t.Errorf("problem %q", got)
		}
		if n := strings.Count(log.String(), "cannot be kept up"); n != 1 {
			t.Errorf("logged %d times, want once", n)
		}
		verifies(t, ca.Trust().Bundle, issue(t, ca))
		disk.writes.Store(-1)
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := ca.Status(); s.Problem != "" || time.Until(s.Intermediates[0].NotAfter) < 29*24*time.Hour {
			t.Errorf("not mended: %+v", s)
		}
	})
}

func TestAnotherProcessOnTheSameFilesTakesUpWhatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newMemory()
		first, err := openOn(disk, nil)
		must(t, err)
		second, err := openOn(disk, func(c *Config) { c.Dir = "elsewhere" }) // so that it looks
		must(t, err)
		if !first.Trust().Bundle.Equal(second.Trust().Bundle) {
			t.Fatal("two roots in one trust domain")
		}
		run(t, second)
		must(t, first.Rotate(context.Background(), Root))
		time.Sleep(poll + time.Millisecond)
		synctest.Wait()
		if !first.Trust().Bundle.Equal(second.Trust().Bundle) {
			t.Error("the second does not know the new root")
		}
	})
}

func TestStateThatCannotBeIsRefused(t *testing.T) {
	disk := newMemory()
	_, err := openOn(disk, nil)
	must(t, err)
	good, err := disk.read(stateFile)
	must(t, err)
	replace := func(old, with string) []byte {
		if !strings.Contains(string(good), old) {
			t.Fatalf("no %q in %s", old, good)
		}
		return []byte(strings.ReplaceAll(string(good), old, with))
	}
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"empty":                       {nil, "cannot be read, it may be truncated"},
		"cut off":                     {good[:len(good)/2], "cannot be read, it may be truncated"},
		"of a later version":          {replace(`"version": 1`, `"version": 2`), "is of version 2, this xdsserver knows 1"},
		"without an active root":      {replace(`"active"`, `"prepared"`), "0 roots are active, want 1"},
		"with a phase of its own":     {replace(`"active"`, `"on"`), "0 roots are active"},
		"naming files elsewhere":      {replace(`"root"`, `"../root"`), `"../root" is no name of a certificate`},
		"with an orphan":              {replace(`"root": "root"`, `"root": "root-9"`), `is of a root "root-9", which there is not`},
		"with one certificate twice":  {replace(`"name": "intermediate"`, `"name": "root"`), "root is there twice"},
		"of another trust domain":     {replace(domain, "other.org"), "start with --trust-domain other.org"},
		"with a life that is no time": {replace(`"24h0m0s"`, `"long"`), "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, disk.write(stateFile, test.data))
			_, err := openOn(disk, nil)
			wantError(t, err, "state.json", test.want)
		})
	}
}

func FuzzState(f *testing.F) {
	disk := newMemory()
	_, err := openOn(disk, nil)
	must(f, err)
	good, err := disk.read(stateFile)
	must(f, err)
	f.Add(good)
	f.Add([]byte(`{"version":1,"creating":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeState(data)
		if err != nil || s.Creating {
			return
		}
		_, _ = s.plan(pace{leaf: time.Hour, intermediate: time.Hour, root: time.Hour}, moment{now: time.Now(), running: time.Now(), online: true})
		for _, r := range slices.Concat(s.Roots, s.Intermediates) {
			if !fs.ValidPath(r.Name) || filepath.Base(r.Name) != r.Name {
				t.Errorf("name %q leads elsewhere", r.Name)
			}
		}
		if again, err := decodeState(s.encode()); err != nil || fmt.Sprint(again) == "" {
			t.Errorf("not read again: %v", err)
		}
	})
}
