package resource_test

import (
	"testing"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestCodesHaveTheNamesOfConfiguration(t *testing.T) {
	for code, want := range map[uint32]string{0: "ok", 1: "cancelled", 2: "unknown", 4: "deadline-exceeded", 8: "resource-exhausted", 14: "unavailable"} {
		if got := resource.CodeName(code); got != want {
			t.Errorf("CodeName(%d) = %q, want %q", code, got, want)
		}
	}
}
