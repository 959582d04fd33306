package proc

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Build compiles a command of this module, such as "./bench/service/plain", into dir as it
// would be released (stripped, paths trimmed, no cgo), and returns the binary's path.
func Build(ctx context.Context, dir, pkg string, flags ...string) (string, error) {
	path := filepath.Join(dir, filepath.Base(pkg))
	args := append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", path}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...) //nolint:gosec // of this module
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}
