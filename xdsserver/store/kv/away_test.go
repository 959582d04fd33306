package kv

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

func TestLastKnownConfigurationIsServedWhileConsulIsAway(t *testing.T) {
	agent, cache := consultest.Start(t), filepath.Join(t.TempDir(), "cache")
	s := open(t, agent, "away", cache)
	o := run(t, s)
	apply(t, s, "voting", votingYAML)
	until(t, "it is emitted", func() bool { return o.get().Generation == 1 })

	until(t, "the cache has it", func() bool {
		data, err := os.ReadFile(cache)
		if err != nil {
			return false
		}
		v, err := decodeCache(data)
		return err == nil && v.state.Revision() == 1
	})
	agent.Stop(t)
	until(t, "the output says so", func() bool { return o.get().Err != nil })
	began := time.Now()
	_, err := s.Apply(t.Context(), changes("web", "w1"), store.Intent{})
	if err == nil || !strings.Contains(err.Error(), nothing) || time.Since(began) > 2*time.Second {
		t.Errorf("apply without consul: %v, after %v", err, time.Since(began))
	}
	if err := s.UpdateToken("a", func([]byte) ([]byte, error) { return []byte("x"), nil }); err == nil {
		t.Error("a token without consul")
	}
	if got := s.Status().Problem; !strings.Contains(got, "consul at") {
		t.Errorf("status: %q", got)
	}
	if got := o.get(); len(got.Objects) != 1 || got.Generation != 1 || dump(s) != "voting="+votingYAML {
		t.Errorf("served meanwhile: %+v", got)
	}

	// Who starts now serves the same.
	again := open(t, agent, "away", cache)
	p := run(t, again)
	until(t, "it is emitted", func() bool { return len(p.get().Objects) == 1 })
	if got := p.get(); got.Err == nil || got.Generation != 1 || again.Status().Problem == "" || !strings.Contains(again.log.String(), "configuration last known is served") {
		t.Errorf("a start without consul: %+v, %s", got, again.log)
	}
	if _, err := again.Apply(t.Context(), changes("web", "w1"), store.Intent{}); err == nil || !strings.Contains(err.Error(), nothing) {
		t.Errorf("apply: %v", err)
	}

	agent.Restart(t)
	agent.Ready(t)
	until(t, "both are well", func() bool { return o.get().Err == nil && p.get().Err == nil })
	apply(t, again, "web", votingYAML)
	until(t, "both have the next change", func() bool { return o.get().Generation == 2 && p.get().Generation == 2 })
	if s.Status().Problem != "" || again.Status().Problem != "" || len(p.get().Problems) != 0 || len(s.History()) != 2 || len(again.History()) != 2 {
		t.Errorf("after it: %+v, %+v, %v, %d, %d", s.Status(), again.Status(), p.get().Problems, len(s.History()), len(again.History()))
	}
}

func TestStartWithNeitherConsulNorCacheFails(t *testing.T) {
	agent, dir := consultest.Start(t), t.TempDir()
	full := open(t, agent, "nothing", filepath.Join(dir, "good"))
	apply(t, full, "voting", votingYAML)
	o := run(t, full)
	until(t, "the cache is written", func() bool { _, err := os.Stat(filepath.Join(dir, "good")); return err == nil })
	o.stop()
	info, err := os.Stat(filepath.Join(dir, "good"))
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("the cache is %v, %v", info.Mode(), err)
	}
	good, err := os.ReadFile(filepath.Join(dir, "good"))
	if err != nil {
		t.Fatal(err)
	}
	agent.Kill(t)
	for name, cache := range map[string][]byte{
		"no cache":               nil,
		"an empty cache":         {},
		"half of a cache":        good[:len(good)/2],
		"a cache with a bit off": append(append([]byte{}, good[:len(good)-9]...), append([]byte{good[len(good)-9] ^ 1}, good[len(good)-8:]...)...),
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "cache")
			if cache != nil {
				if err := os.WriteFile(file, cache, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			log := &logged{}
			s, err := Open(ctx, Config{Client: client(t, agent, "nothing"), CacheFile: file, Logger: slog.New(slog.NewTextHandler(log, nil))})
			if s != nil || err == nil || !strings.Contains(err.Error(), "no configuration is known without it") || !strings.Contains(err.Error(), agent.Address()) {
				t.Errorf("got %v", err)
			}
			if warned := strings.Count(log.String(), "cannot be read"); warned != min(1, len(name)-len("no cache")) {
				t.Errorf("log: %s", log)
			}
		})
	}
}

func TestCacheThatCannotBeWrittenIsOneWarning(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	s := open(t, consultest.Start(t), "unwritten", filepath.Join(dir, "cache"))
	o := run(t, s)
	until(t, "it warns", func() bool { return strings.Contains(s.log.String(), "cache of the configuration not written") })
	apply(t, s, "voting", "v1")
	o.stop() // which tries once more
	if got := strings.Count(s.log.String(), "level=WARN"); got != 1 {
		t.Errorf("%d warnings: %s", got, s.log)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, s)
	until(t, "it is written again", func() bool { return strings.Contains(s.log.String(), "is written again") })
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestReaderWithoutTheRightToWriteFollows(t *testing.T) {
	agent := consultest.Start(t, consultest.ACLs("11111111-2222-3333-4444-555555555555"))
	writer := open(t, agent, "acl", "")
	apply(t, writer, "voting", votingYAML)
	stranger := *agent
	stranger.Token = ""
	if _, err := Open(t.Context(), Config{Client: client(t, &stranger, "acl"), Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "give xdsserver a token that may") {
		t.Errorf("without a token: %v, want an error and no empty mesh", err)
	}
	reader := stranger
	reader.Token = token(t, agent, `key_prefix "acl" { policy = "read" }`)
	s := open(t, &reader, "acl", "")
	o := run(t, s)
	apply(t, writer, "web", votingYAML)
	until(t, "the reader has it", func() bool { return o.get().Generation == 2 })
	_, err := s.Apply(t.Context(), changes("web", "w"), store.Intent{})
	if err == nil || !strings.Contains(err.Error(), "Permission denied") || !strings.Contains(err.Error(), nothing) {
		t.Errorf("apply: %v", err)
	}
}
