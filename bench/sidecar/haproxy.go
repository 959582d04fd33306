package sidecar

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// HAProxy opens a pair of HAProxy's, of the program in PATH, and returns when all of it
// serves. Its client does not look at the server's SPIFFE id, for which HAProxy has no way
// but one for each call: the chain must lead to the authority, no more.
func HAProxy(ctx context.Context, c Config) (*Pair, error) {
	path, err := exec.LookPath("haproxy")
	if err != nil {
		return nil, errors.New("haproxy is not in PATH: apt-get install haproxy")
	}
	out, err := exec.CommandContext(ctx, path, "-v").Output() //nolint:gosec // as found above
	if err != nil {
		return nil, fmt.Errorf("haproxy -v: %w", err)
	}
	// "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/"
	words := strings.Fields(string(out))
	if len(words) < 3 {
		return nil, fmt.Errorf("haproxy -v says no version: %q", out)
	}
	// -db stays in the foreground, as one process.
	return program{name: "haproxy", version: words[2], path: path, args: []string{"-db", "-f"}, ending: ".cfg"}.open(ctx, c)
}
