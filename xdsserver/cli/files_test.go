package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tulle-mesh/tulle/xdsserver/cli"
)

// What is too large is refused here, by the name of the file and with what to do;
// the server would only see bytes.
func TestInputIsBounded(t *testing.T) {
	for name, test := range map[string]struct {
		files, size int
		want        string
	}{
		"a file of 50 MB":           {1, 50 << 20, "0.yaml is larger than 4 MiB: split it into several files\n"},
		"20 MB in files that do":    {5, 4 << 20, "the 5 files are more than 15 MiB together: send them in several commands\n"},
		"files that do, one by one": {3, 4 << 20, "no xdsserver answers"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i := range test.files {
				path := filepath.Join(dir, fmt.Sprint(i, ".yaml"))
				if err := os.WriteFile(path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Truncate(path, int64(test.size)); err != nil {
					t.Fatal(err)
				}
			}
			var out strings.Builder
			code := cli.Main(t.Context(), []string{"apply", "-f", dir, "--admin", "http://127.0.0.1:1"}, cli.IO{Out: &out, Err: &out})
			if code != 1 || !strings.Contains(out.String(), test.want) {
				t.Errorf("exit code %d, %q; want 1 and %q", code, out.String(), test.want)
			}
		})
	}
}
