package sidecar

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// shared is a directory for all tests of a run.
var shared string

// TestMain removes it.
func TestMain(m *testing.M) {
	var err error
	if shared, err = os.MkdirTemp("", "tulle-sidecar-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(shared)
		os.Exit(code)
	}))
}

// withEnvoy installs Envoy there.
var withEnvoy = sync.OnceValue(func() error {
	_, err := installEnvoy(context.Background(), Config{Dir: shared})
	return err
})
