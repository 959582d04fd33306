package xdsclient

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// fill lets a client accept resources and stop, so that its cache file is there.
func fill(t *testing.T, n *network, cfg Config) {
	t.Helper()
	f := newServer(t, n, cfg.Servers[0])
	f.set(typeA, "one", "v1", "one=1")
	f.set(typeB, "two", "v2", "two=2")
	h := startClient(t, cfg)
	h.watch(typeA, "one")
	h.watch(typeB, "two")
	settle(time.Second)
	h.stop()
	f.stop()
}

func TestProcessStartsFromItsDiskWhileTheServerIsDead(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(n *network, f *fakeServer)
		within time.Duration
	}{
		{"its port refuses", func(_ *network, f *fakeServer) { f.stop() }, time.Millisecond},
		{"packets to it are lost", func(n *network, _ *fakeServer) { n.setSilent("a", true) }, rememberAfter + keepGap},
		{"it takes streams and is silent", func(_ *network, f *fakeServer) { f.setMute(true) }, rememberAfter + keepGap},
		{"it refuses streams", func(_ *network, f *fakeServer) {
			f.refuse(status.Error(codes.Unavailable, "draining"))
		}, time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork()
				cfg := config(n, "a")
				cfg.CacheFile = filepath.Join(t.TempDir(), "state", "xds.cache")
				fill(t, n, cfg)
				confirmed := time.Now()
				settle(3 * time.Hour)
				test.damage(n, newServer(t, n, "a"))

				cfg.Node = &xdsv3.Node{Id: "web/2", Cluster: "web"} // another instance of the service
				h := newClient(t, cfg)
				one, two, three := h.watch(typeA, "one"), h.watch(typeB, "two"), h.watch(typeB, "three")
				h.run()
				settle(test.within)
				one.want(t, "1@v1 stale")
				two.want(t, "2@v2 stale")
				if got := three.State(); got.Known {
					t.Errorf("what was never held is %+v", got)
				}
				if got := one.tellings(); got != 1 {
					t.Errorf("told %d times, want once", got)
				}
				if got := h.Status().StaleSince; !got.Equal(confirmed) {
					t.Errorf("stale since %v, want %v: when a server last confirmed it", got, confirmed)
				}
				h.log.wantCount(t, "configuration is stale", 1)
				h.log.wantCount(t, "level=WARN", 1)
				h.stop()
			})
		})
	}
}

func TestReadyWithoutAServerWhenTheDiskRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		cfg := config(n, "a")
		cfg.CacheFile = filepath.Join(t.TempDir(), "xds.cache")
		fill(t, n, cfg)
		h := startClient(t, cfg)
		if err := h.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		// Known to be away: what is remembered is there when Subscribe returns.
		one := h.watch(typeA, "one")
		one.want(t, "1@v1 stale")
		if got := one.tellings(); got != 0 {
			t.Errorf("told %d times of the state it began with", got)
		}
		h.stop()
	})
}

func TestServerThatIsThereIsPreferredToTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		cfg := config(n, "a")
		cfg.CacheFile = filepath.Join(t.TempDir(), "xds.cache")
		fill(t, n, cfg)
		f := newServer(t, n, "a")
		f.set(typeA, "one", "v3", "one=3")
		h := startClient(t, cfg)
		one, two := h.watch(typeA, "one"), h.watch(typeB, "two")
		settle(time.Minute)
		one.want(t, "3@v3")
		if got := one.tellings(); got != 1 {
			t.Errorf("told %d times, want once: the server's value only", got)
		}
		// Gone from the server, held by an earlier process.
		two.want(t, `2@v2 but xdsclient: Beta "two" is not known to a`)
		for _, req := range f.take() {
			if len(req.GetInitialResourceVersions()) > 0 {
				t.Errorf("offered %v, which is only remembered", req.GetInitialResourceVersions())
			}
		}
		h.log.wantCount(t, "level=WARN", 0)
		h.stop()
	})
}

func TestRefusedResourceFallsBackToTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		cfg := config(n, "a")
		cfg.CacheFile = filepath.Join(t.TempDir(), "xds.cache")
		fill(t, n, cfg)
		f := newServer(t, n, "a")
		f.set(typeA, "one", "v3", "one=bad")
		f.set(typeB, "two", "v2", "two=2")
		h := startClient(t, cfg)
		one := h.watch(typeA, "one")
		settle(time.Second)
		one.want(t, `1@v1 but xdsclient: Alpha "one", version "v3", was refused: text: bad is not good enough`)
		h.stop()

		// What was refused is not on the disk.
		entries, err := newDisk(cfg.CacheFile).read("web")
		if err != nil || len(entries) != 2 || entries[0].version != "v1" {
			t.Errorf("the disk holds %v, %v; want v1 of one and v2 of two", entries, err)
		}
	})
}

func TestCacheFileIsPrivateAndReplacedAsAWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		cfg := config(n, "a")
		folder := filepath.Join(t.TempDir(), "deep", "state")
		cfg.CacheFile = filepath.Join(folder, "xds.cache")
		fill(t, n, cfg)
		for path, want := range map[string]os.FileMode{folder: 0o700 | os.ModeDir, cfg.CacheFile: 0o600} {
			if info, err := os.Stat(path); err != nil || info.Mode() != want {
				t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
			}
		}
		// One that was killed while it wrote, and one that writes now.
		old, recent := cfg.CacheFile+".1.tmp", cfg.CacheFile+".2.tmp"
		for _, path := range []string{old, recent} {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		past := time.Now().Add(-2 * leftover)
		if err := errors.Join(os.Chtimes(old, past, past), os.Chtimes(recent, time.Now(), time.Now())); err != nil {
			t.Fatal(err)
		}
		fill(t, n, cfg)
		left, err := filepath.Glob(filepath.Join(folder, "*"))
		if diff := cmp.Diff([]string{cfg.CacheFile, recent}, left); diff != "" || err != nil {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	})
}

// countWrites counts the writes of a client's disk.
func countWrites(h *harness) *atomic.Int32 {
	n := new(atomic.Int32)
	h.disk.through = func(f *os.File) io.Writer {
		n.Add(1)
		return f
	}
	return n
}

func TestWritesAreFewWhateverChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		f := newServer(t, n, "a")
		cfg := config(n, "a")
		cfg.CacheFile = filepath.Join(t.TempDir(), "xds.cache")
		h := newClient(t, cfg)
		writes := countWrites(h)
		h.run()
		h.watch(typeA, "one")
		for i := range 1000 { // 10 s
			f.set(typeA, "one", string(rune(i)), "one="+string(rune(i)))
			settle(10 * time.Millisecond)
		}
		if writes.Load() < 8 || writes.Load() > 11 {
			t.Errorf("%d writes in 10 s of changes, want about one each second", writes.Load())
		}
		settle(time.Minute)
		before := writes.Load()
		settle(23 * time.Hour)
		if writes.Load() != before {
			t.Errorf("%d writes without a change", writes.Load()-before)
		}
		settle(2 * time.Hour)
		if writes.Load() != before+1 {
			t.Errorf("%d writes in a day without a change, want 1", writes.Load()-before)
		}
		h.stop()
		if writes.Load() != before+2 {
			t.Errorf("%d writes when Run ended, want 1", writes.Load()-before-1)
		}
	})
}

func TestDiskThatFailsIsOneWarningAndNothingElse(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no /dev/full to write to")
	}
	defer full.Close()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		f := newServer(t, n, "a")
		cfg := config(n, "a")
		folder := t.TempDir()
		cfg.CacheFile = filepath.Join(folder, "xds.cache")
		h := newClient(t, cfg)
		var room atomic.Bool
		h.disk.through = func(f *os.File) io.Writer {
			if room.Load() {
				return f
			}
			return full
		}
		h.run()
		one := h.watch(typeA, "one")
		for i := range 100 {
			f.set(typeA, "one", string(rune('a'+i)), "one="+string(rune('a'+i)))
			settle(time.Second)
		}
		if st := one.State(); st.Value != string(rune('a'+99)) || st.Ambient != nil {
			t.Errorf("state is %+v, want the newest", st)
		}
		h.log.wantCount(t, "level=WARN", 1)
		h.log.wantCount(t, syscall.ENOSPC.Error(), 1)
		if left, _ := os.ReadDir(folder); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
		// The disk has room again; it is tried without a further change.
		settle(saveRetry + saveGap)
		room.Store(true)
		settle(saveRetry + saveGap)
		h.log.wantCount(t, "disk cache is written again", 1)
		if entries, err := newDisk(cfg.CacheFile).read("web"); err != nil || len(entries) != 1 {
			t.Errorf("the disk holds %v, %v", entries, err)
		}
		h.stop()
	})
}

func TestFolderThatCannotBeMadeIsOneWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := config(n, "a")
		cfg.CacheFile = filepath.Join(file, "state", "xds.cache")
		f := newServer(t, n, "a")
		f.set(typeA, "one", "v1", "one=1")
		h := startClient(t, cfg)
		one := h.watch(typeA, "one")
		settle(time.Minute)
		one.want(t, "1@v1")
		h.stop()
		h.log.wantCount(t, "disk cache ignored", 1)
		h.log.wantCount(t, "disk cache cannot be written", 1)
	})
}

func TestResourcesNotUsedForAWeekLeaveTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		f := newServer(t, n, "a")
		for _, name := range []string{"used", "closed", "changing"} {
			f.set(typeA, name, "v1", name+"=1")
		}
		cfg := config(n, "a")
		cfg.CacheFile = filepath.Join(t.TempDir(), "xds.cache")
		h := startClient(t, cfg)
		h.watch(typeA, "used")
		closed := h.watch(typeA, "closed")
		settle(time.Second)
		closed.Close()
		remembered := func() string {
			entries, err := newDisk(cfg.CacheFile).read("web")
			if err != nil {
				t.Error(err)
			}
			var names []string
			for _, e := range entries {
				names = append(names, e.name)
			}
			return strings.Join(names, " ")
		}
		settle(6 * 24 * time.Hour)
		if got := remembered(); got != "closed used" {
			t.Errorf("after 6 days the disk holds %q", got)
		}
		settle(2 * 24 * time.Hour)
		if got := remembered(); got != "used" {
			t.Errorf("after 8 days the disk holds %q", got)
		}
		h.stop()

		// The time a process was not there counts only once it writes: it may
		// need then what it used before.
		f.stop()
		settle(30 * 24 * time.Hour)
		h = startClient(t, cfg)
		settle(time.Second)
		h.watch(typeA, "used").want(t, "1@v1 stale")
		h.stop()
		if got := remembered(); got != "used" {
			t.Errorf("the disk holds %q", got)
		}
	})
}

func TestLongestUnusedLeaveWhenThereAreTooMany(t *testing.T) {
	h := newClient(t, config(newNetwork(), "a"))
	h.watch(typeA, "3")
	now := time.Now()
	for i, name := range []string{"1", "2", "3", "4"} {
		k := key{typeA, name}
		h.memory[k] = &entry{key: k, value: make([]byte, maxMemory/3), used: now.Add(time.Duration(i) * time.Second)}
	}
	h.prune(now.Add(time.Minute))
	for name, want := range map[string]bool{"1": false, "2": false, "3": true, "4": true} {
		if _, got := h.memory[key{typeA, name}]; got != want {
			t.Errorf("%s is remembered: %v, want %v", name, got, want)
		}
	}
}

func TestHeldBytesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		f := newServer(t, n, "a")
		h := startClient(t, config(n, "a"))
		one := h.watch(typeA, "one")
		synctest.Wait()
		h.mu.Lock()
		h.held += maxHeld - 10
		h.mu.Unlock()
		f.send(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeA, Resources: []*discoveryv3.Resource{res("one", "v1", "one=1234567")}})
		synctest.Wait()
		if st := one.State(); st.Err == nil || !strings.Contains(st.Err.Error(), "the client would hold 268435457 bytes, the most is 268435456") {
			t.Errorf("state is %+v", st)
		}
		f.send(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeA, Resources: []*discoveryv3.Resource{res("one", "v2", "one=123456")}})
		synctest.Wait()
		one.want(t, "123456@v2")
	})
}
