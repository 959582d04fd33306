package call_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// A reason that has no place is not counted: all that the source declares must have one.
func TestEveryReasonHasAPlace(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "error.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == "Reason" {
				declared++
			}
		}
		return true
	})
	if declared != call.Reasons {
		t.Errorf("%d reasons are declared, %d have a place", declared, call.Reasons)
	}
	seen := map[call.Reason]bool{}
	for i := range call.Reasons {
		r := call.ReasonAt(i)
		if r.Index() != i || seen[r] {
			t.Errorf("%s is at %d and at %d", r, i, r.Index())
		}
		seen[r] = true
	}
	if got := call.Reason("MADE_UP").Index(); got != -1 {
		t.Errorf("what is no reason is at %d", got)
	}
}

func TestCode(t *testing.T) {
	refused := &call.Error{Code: codes.Unavailable, Detail: "no endpoint"}
	for _, tt := range []struct {
		name string
		err  error
		want codes.Code
	}{
		{"no error is OK", nil, codes.OK},
		{"the mesh's error has its own", refused, codes.Unavailable},
		{"a status error has its own", status.Error(codes.NotFound, "gone"), codes.NotFound},
		{"one within another is found", errors.Join(refused), codes.Unavailable},
		{"any other is unknown", errors.New("oops"), codes.Unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := call.Code(tt.err); got != tt.want {
				t.Errorf("Code = %v, want %v", got, tt.want)
			}
		})
	}
	var err error = refused
	if got := testing.AllocsPerRun(100, func() { call.Code(err) }); got > 0 {
		t.Errorf("it costs %v allocations", got)
	}
}
