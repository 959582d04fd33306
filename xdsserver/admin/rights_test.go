package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

// matrix is who may call what, written down once more and by hand: a method that is
// new says here, and in rights, which right it needs.
var matrix = map[Right][]string{
	MayView: {
		"List", "ListEndpoints", "ListRoutes", "ExplainCall", "GetGraph", "GetServiceStats", "ListCommands", "ListHistory",
		"GetStatus", "ListTokens", "GetAuthority", "ListIdentities", "Authorize", "SuggestPolicy",
	},
	MayApply: {"Apply", "Delete", "SetLog", "RollBack", "CreateToken", "RevokeToken", "RotateAuthority"},
	MayTap:   {"Tap"},
	mayLogin: {"CreateLogin"},
}

// call asks for a method by HTTP, and returns the code of the answer; empty is good.
func call(t *testing.T, caller *Caller, method string, streams bool) string {
	t.Helper()
	request := httptest.NewRequest(http.MethodPost, "/"+adminv1connect.AdminServiceName+"/"+method, strings.NewReader("{}"))
	request.Header.Set("Content-Type", "application/json")
	if streams {
		request = httptest.NewRequest(http.MethodPost, "/"+adminv1connect.AdminServiceName+"/"+method, bytes.NewReader([]byte("\x00\x00\x00\x00\x02{}")))
		request.Header.Set("Content-Type", "application/connect+json")
	}
	if caller != nil {
		request = request.WithContext(WithCaller(request.Context(), *caller))
	}
	answer := httptest.NewRecorder()
	Methods(adminv1connect.UnimplementedAdminServiceHandler{}).ServeHTTP(answer, request)
	body := answer.Body.Bytes()
	var said struct {
		Code  string
		Error struct{ Code string }
	}
	if streams {
		body = body[5:] // the end of the stream
	}
	if err := json.Unmarshal(body, &said); err != nil {
		t.Fatalf("%s: %v in %q", method, err, body)
	}
	return said.Code + said.Error.Code
}

func TestEveryMethodWantsItsRight(t *testing.T) {
	methods := adminv1.File_admin_v1_admin_proto.Services().ByName("AdminService").Methods()
	if methods.Len() != len(rights) {
		t.Errorf("there are %d methods and %d entries in the table of rights", methods.Len(), len(rights))
	}
	for i := range methods.Len() {
		name, streams := string(methods.Get(i).Name()), methods.Get(i).IsStreamingServer()
		if got := call(t, nil, name, streams); got != "unauthenticated" {
			t.Errorf("%s answers nobody with %q, want unauthenticated", name, got)
		}
		known := false
		for _, right := range []Right{MayView, MayApply, MayTap, MayPayload, mayLogin} {
			want := "permission_denied"
			if slices.Contains(matrix[right], name) {
				want, known = "unimplemented", true // it went through
			}
			if got := call(t, &Caller{Name: "somebody", May: []Right{right}}, name, streams); got != want {
				t.Errorf("%s answers who has the right %q with %q, want %q", name, right, got, want)
			}
		}
		if !known {
			t.Errorf("%s is not in the matrix: say who may call it", name)
		}
		if all := localUser(); call(t, &all, name, streams) != "unimplemented" {
			t.Errorf("%s does not answer the operator", name)
		}
	}
}

func TestAMethodWithoutAnEntryIsRefusedToEverybody(t *testing.T) {
	if err := permit(WithCaller(context.Background(), localUser()), "/tulle.admin.v1.AdminService/New"); err == nil {
		t.Error("it is answered")
	}
}
