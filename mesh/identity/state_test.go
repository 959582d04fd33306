package identity

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestARestartNeedsNeitherTokenNorXdsserver(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tulle", "voting.pem")
	synctest.Test(t, func(t *testing.T) {
		n, a := newNetwork(), newAuthority(t, domain)
		stop := a.serve(n.listen(xds))
		p := start(t, n, Config{Service: "voting", Token: a.token(xds).Reveal(), StateFile: file})
		before := p.must()
		_ = p.stop()
		stop()
		time.Sleep(10 * time.Hour)
		q := start(t, n, Config{Service: "voting", Servers: []string{xds}, StateFile: file})
		after := q.must()
		if !after.Certificate.Leaf.Equal(before.Certificate.Leaf) || !after.Bundle.Equal(before.Bundle) || !after.issued.Equal(before.issued) {
			t.Errorf("got %v, want %v", after, before)
		}
		if _, err := q.usable(t.Context()); err != nil {
			t.Error(err)
		}
		if st := q.Status(); st.From != "state file" || !st.Reached.IsZero() {
			t.Errorf("status %+v", st)
		}
		defer a.serve(n.listen(xds))()
		time.Sleep(4 * time.Hour) // past half its life, counted from its issue
		synctest.Wait()
		if q.Current() == after {
			t.Errorf("not renewed; log:\n%s", q.logs)
		}
		_ = q.stop()
	})
	for path, want := range map[string]fs.FileMode{file: 0o600, filepath.Dir(file): 0o700} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v, want %v", filepath.Base(path), info.Mode().Perm(), err, want)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v, want the file alone", entries, err)
	}
}

func TestAStateFileThatIsNoGoodIsIgnoredWithOneWarning(t *testing.T) {
	for name, test := range map[string]struct {
		change func(t *testing.T, file string)
		want   string
	}{
		"others may read it": {func(t *testing.T, file string) { chmod(t, file, 0o644) }, "others may read it or write it (mode 0644): chmod 600"},
		"its folder is open": {func(t *testing.T, file string) { chmod(t, filepath.Dir(file), 0o777) }, "others may write to it (mode 0777): chmod 700"},
		"cut off":            {func(t *testing.T, file string) { rewrite(t, file, func(b []byte) []byte { return b[:len(b)/2] }) }, "it is damaged"},
		"empty":              {func(t *testing.T, file string) { rewrite(t, file, func([]byte) []byte { return nil }) }, "it lacks the key"},
		"no PEM":             {func(t *testing.T, file string) { rewrite(t, file, func([]byte) []byte { return []byte("no") }) }, "it is damaged after block 0"},
		"huge": {func(t *testing.T, file string) {
			rewrite(t, file, func(b []byte) []byte { return append(b, make([]byte, maxState)...) })
		}, "are the most"},
		"a folder": {func(t *testing.T, file string) {
			if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, "is not a regular file"},
		"of another service": {func(t *testing.T, file string) {
			rewrite(t, file, func([]byte) []byte { return encoded(t, newAuthority(t, domain).identity("web")) })
		}, "it is of spiffe://example.org/ns/default/svc/web, not of service voting"},
		"with another key": {func(t *testing.T, file string) {
			a := newAuthority(t, domain)
			i := *a.identity("voting")
			i.Certificate.PrivateKey = newKey(t)
			rewrite(t, file, func([]byte) []byte { return encoded(t, &i) })
		}, "is of another key"},
		"with the roots of another": {func(t *testing.T, file string) {
			i := newAuthority(t, domain).identity("voting").withBundle(newAuthority(t, domain).bundle())
			rewrite(t, file, func([]byte) []byte { return encoded(t, i) })
		}, "signed by unknown authority"},
		"expired": {func(t *testing.T, _ string) { time.Sleep(25 * time.Hour); synctest.Wait() }, "expired at 2000-01-02T00:00:00Z, 1h0m0s ago"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "tulle", "voting.pem")
			synctest.Test(t, func(t *testing.T) {
				n, a := newNetwork(), newAuthority(t, domain)
				if err := writeState(file, a.identity("voting")); err != nil {
					t.Fatal(err)
				}
				test.change(t, file)
				p := start(t, n, Config{Service: "voting", Servers: []string{xds}, TokenFile: filepath.Join(t.TempDir(), "none"), StateFile: file})
				if i, err := p.wait(time.Minute); err == nil {
					t.Errorf("it is used: %v", i)
				}
				if p.logs.count("identity on disk ignored") != 1 || !strings.Contains(p.logs.String(), test.want) {
					t.Errorf("want one warning with %q:\n%s", test.want, p.logs)
				}
				_ = p.stop()
			})
		})
	}
}

func TestTheBundleOfAnExpiredStateFileIsStillTrusted(t *testing.T) {
	dir := t.TempDir()
	file, jwt := filepath.Join(dir, "tulle", "voting.pem"), filepath.Join(dir, "jwt")
	if err := os.WriteFile(jwt, []byte("a.b.c"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		n, a := newNetwork(), newAuthority(t, domain)
		a.jwt = "a.b.c"
		defer a.serve(n.listen(xds))()
		if err := writeState(file, a.identity("voting")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Hour)
		p := start(t, n, Config{Service: "voting", Servers: []string{xds}, JWTFile: jwt, StateFile: file})
		p.must()
		_ = p.stop()
	})
}

func TestAStateFileThatCannotBeWrittenIsWarnedOfOnce(t *testing.T) {
	dir := t.TempDir()
	chmod(t, dir, 0o777)
	synctest.Test(t, func(t *testing.T) {
		n, a := newNetwork(), newAuthority(t, domain)
		defer a.serve(n.listen(xds))()
		p := start(t, n, Config{Service: "voting", Token: a.token(xds).Reveal(), StateFile: filepath.Join(dir, "voting.pem")})
		p.must()
		time.Sleep(48 * time.Hour)
		_ = p.stop()
		if got := p.logs.count("identity is not kept on disk"); got != 1 {
			t.Errorf("logged %d times, want once:\n%s", got, p.logs)
		}
	})
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("a key was put into a folder that is open to all: %v, %v", entries, err)
	}
}

func TestWhatKilledProcessesLeftIsRemoved(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tulle", "voting.pem")
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	old, fresh := file+".1.tmp", file+".2.tmp"
	for _, name := range []string{old, fresh} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now().Add(-2 * leftover)
	if err := os.Chtimes(old, before, before); err != nil {
		t.Fatal(err)
	}
	if err := writeState(file, newAuthority(t, domain).identity("voting")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an old file is still there: %v", err)
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Errorf("a file that may be in use is gone: %v", err)
	}
}

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func rewrite(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func encoded(tb testing.TB, i *Identity) []byte {
	tb.Helper()
	b, err := encodeState(i)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// What is read is an identity that can be used, and is written as it was read.
func FuzzParseState(f *testing.F) {
	a := newAuthority(f, domain)
	good := encoded(f, a.identity("voting"))
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(bytes.ReplaceAll(good, []byte(useRoot), []byte(useIntermediate)))
	f.Add(bytes.ReplaceAll(good, []byte(domain), []byte("other.org")))
	f.Add(bytes.Repeat(good, 2))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: typeKey, Bytes: []byte("no key")}))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := parseState(b, "voting", time.Now())
		if err != nil {
			if st.identity != nil {
				t.Error("an identity comes with an error")
			}
			return
		}
		i := st.identity
		if i.ID.Service != "voting" || i.check() != nil || i.issued.Before(i.NotBefore) || i.issued.After(i.NotAfter) {
			t.Fatalf("read %v, issued %v", i, i.issued)
		}
		again, err := parseState(encoded(t, i), "voting", time.Now())
		if err != nil || !again.identity.Certificate.Leaf.Equal(i.Certificate.Leaf) || !again.identity.issued.Equal(i.issued) {
			t.Errorf("written and read again: %v, %v", again.identity, err)
		}
	})
}
