package control

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is the server under test, too: see [Role].
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Role {
		if err := Child(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
