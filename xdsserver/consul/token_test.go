package consul_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
)

func TestATokenIsRenewedFromItsFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "token")
		put := func(text string) {
			t.Helper()
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var sent atomic.Value
		f, log := newFake(), &journal{}
		c := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sent.Store(r.Header.Get("X-Consul-Token"))
			f.ServeHTTP(w, r)
		}), consul.Config{TokenFile: file, Logger: log.logger()})
		ask := func(want string) {
			t.Helper()
			time.Sleep(consul.TokenPoll)
			if _, _, err := c.Get(t.Context(), "x"); err != nil {
				t.Fatal(err)
			}
			if got := sent.Load(); got != want {
				t.Errorf("sent token %q, want %q", got, want)
			}
		}

		if _, _, err := c.Get(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "consul: token: open "+file) {
			t.Errorf("without a file ever: got %v", err)
		}
		put("secret-1\n")
		ask("secret-1")
		then := time.Now().Add(-time.Hour)
		if err := os.Chtimes(file, then, then); err != nil {
			t.Fatal(err)
		}
		ask("secret-1")
		put("secret-2\n") // as long, and as old
		if err := os.Chtimes(file, then, then); err != nil {
			t.Fatal(err)
		}
		ask("secret-2")
		log.wantCount(t, "token was renewed", 1)
		if got := c.TokenChanges(); got != 2 {
			t.Errorf("%d changes, want the first token and another", got)
		}

		for _, text := range []string{"", " \n", "secret-3\nsecret-4", strings.Repeat("x", 5<<10), "s\u00e9cret"} {
			put(text)
			for range 5 {
				ask("secret-2")
			}
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		ask("secret-2")
		log.wantCount(t, "level=WARN", 1)
		log.wantCount(t, "is empty", 1)
		put("secret-5")
		ask("secret-5")
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		ask("secret-5")
		log.wantCount(t, "level=WARN", 2)
		log.wantCount(t, "secret-", 0)
	})
}
