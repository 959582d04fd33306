package resource_test

import (
	"testing"

	"go.uber.org/goleak"
)

// The package starts nothing; the servers and clients of its oracles do.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
