//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package identity

import (
	"fmt"
	"runtime"
)

var errSystem = fmt.Errorf("identity: %s is not supported: run xdsserver on linux, darwin or a BSD", runtime.GOOS)

// openFolder refuses systems whose file modes say nothing of who may read a key.
func openFolder(string) (storage, error) { return nil, errSystem }

func readPrivate(string) ([]byte, error) { return nil, errSystem }

func writePrivate(_, _ string, _ []byte) error { return errSystem }

func syncDir(string) error { return errSystem }
