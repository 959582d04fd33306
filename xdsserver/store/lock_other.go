//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package store

import (
	"fmt"
	"os"
	"runtime"
)

// lockDir refuses systems whose locks and renames do not hold what the store
// promises.
func lockDir(string) (*os.File, error) {
	return nil, fmt.Errorf("store: %s is not supported: run xdsserver on linux, darwin or a BSD", runtime.GOOS)
}
