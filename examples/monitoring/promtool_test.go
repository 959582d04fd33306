package monitoring

import (
	"os"
	"os/exec"
	"testing"
)

// tool is the path of a program of Debian's package prometheus. Continuous integration
// has it; elsewhere the test is skipped.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") == "true":
		t.Fatalf("%s is not installed: apt-get install prometheus", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func TestPromtoolAcceptsTheFiles(t *testing.T) {
	for name, args := range map[string][]string{
		"the configuration":     {"check", "config", "prometheus.yml"},
		"the alerts":            {"check", "rules", "--lint-fatal", "alerts.yml"},
		"when the alerts sound": {"test", "rules", "alerts_test.yml"},
	} {
		t.Run(name, func(t *testing.T) {
			if out, err := exec.CommandContext(t.Context(), tool(t, "promtool"), args...).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
