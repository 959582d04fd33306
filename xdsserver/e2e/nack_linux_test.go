package e2e

import (
	"os"
	"os/exec"
	"testing"

	"google.golang.org/grpc/codes"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A client refuses a resource, and the dashboard shows that, and the client's words, on the
// object that the resource is made of.
func TestDashboardShowsARefusalOnItsObject(t *testing.T) {
	if !needBrowser(t) {
		t.Skip("there is no browser: .ci/machine installs it")
	}
	const reason = "I do not like this split"
	s := startServer(t)
	s.echo(t, "voting", "v1")
	s.awaitEndpoints(t, "voting", 1)
	s.apply(t, "apiVersion: tulle/v1\nkind: GRPCRoute\nmetadata: {name: split}\nspec:\n  parentRefs: [{kind: Service, name: voting}]\n"+
		"  rules: [{backendRefs: [{name: voting, version: v1}]}]\n")
	stream := s.ads(t, "picky")
	request := &discoveryv3.DiscoveryRequest{TypeUrl: resource.RouteType, ResourceNames: []string{"voting"}}
	stream.ask(request)
	request.ResponseNonce = stream.next().GetNonce()
	request.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: reason}
	stream.ask(request)

	login, err := s.api.CreateLogin(t.Context(), &adminv1.CreateLoginRequest{})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", web+"/test/tour.mjs", "nack")
	cmd.Env = append(os.Environ(), "TULLE_DASHBOARD_URL="+login.GetUrl(), "TULLE_REFUSAL="+reason)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
}
