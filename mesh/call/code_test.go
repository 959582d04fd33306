package call_test

import (
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// grpc-go reads the names that gRPC's documents write, and writes others.
func TestCodeNamesAreGRPCs(t *testing.T) {
	for c := codes.OK; c <= codes.Unauthenticated; c++ {
		var back codes.Code
		if err := back.UnmarshalJSON([]byte(`"` + call.CodeName(c) + `"`)); err != nil || back != c {
			t.Errorf("%v is %s, which is %v, %v", c, call.CodeName(c), back, err)
		}
	}
	if got := call.CodeName(42); got != "CODE_42" {
		t.Errorf("what is no code is %s", got)
	}
}
