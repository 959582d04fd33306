package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/tulle-mesh/tulle/mesh"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	registryv1 "github.com/tulle-mesh/tulle/mesh/api/registry/v1"
	"github.com/tulle-mesh/tulle/mesh/identity"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// credentials enrols as a service and returns what proves it to xdsserver: for
// clients that follow no rules but the test's own.
func (s *server) credentials(t *testing.T, service string) credentials.TransportCredentials {
	t.Helper()
	source, err := identity.New(identity.Config{Service: service, Instance: t.Name(), Servers: []string{s.target()}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(s.mesh, grpc.WithTransportCredentials(source.ControlCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := source.Run(ctx, conn); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		conn.Close()
	})
	wait, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	if _, err := source.Wait(wait); err != nil {
		t.Fatal(err)
	}
	return source.ControlCredentials()
}

// Leaves, intermediates and the root rotate under load, by themselves and by
// command, and no call fails: nothing is restarted.
func TestRotationUnderLoadFailsNoCall(t *testing.T) {
	s := startServer(t, "--leaf-ttl", "6s", "--intermediate-ttl", "14s")
	s.echo(t, "voting", "v1")
	s.echo(t, "voting", "v1")
	s.awaitEndpoints(t, "voting", 2)
	conn := dial(t, s.join(t, mesh.Config{}), "mesh:///voting")
	if _, _, err := where(t.Context(), conn, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	serials := map[string]bool{}
	issuers := map[string]bool{}
	look := func() {
		t.Helper()
		answer, err := s.api.ListIdentities(t.Context(), &adminv1.ListIdentitiesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range answer.GetIdentities() {
			serials[id.GetSerial()] = true
			issuers[id.GetIssuer()] = true
		}
	}
	authority := func() *adminv1.Authority {
		t.Helper()
		answer, err := s.api.GetAuthority(t.Context(), &adminv1.GetAuthorityRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetAuthority()
	}
	roots := map[string]bool{}
	for _, r := range authority().GetRoots() {
		roots[r.GetKeyId()] = true
	}

	load := startLoad(t, conn, 500)
	watch := func(d time.Duration, over <-chan struct{}) {
		t.Helper()
		for end := time.Now().Add(d); time.Now().Before(end); look() {
			select {
			case <-over:
				return
			default:
				pass(t, time.Second)
			}
		}
	}
	watch(8*time.Second, nil)
	rotated := make(chan struct{})
	var code int
	var out string
	go func() { // waited for through rotated
		defer close(rotated)
		code, out = s.run(t, "ca", "rotate")
	}()
	watch(time.Minute, rotated)
	if <-rotated; code != 0 {
		t.Fatalf("ca rotate: exit code %d: %s", code, out)
	}
	watch(8*time.Second, nil)
	load.mustNotHaveFailed(t)
	fresh := false
	for _, r := range authority().GetRoots() {
		fresh = fresh || !roots[r.GetKeyId()]
	}
	if !fresh {
		t.Error("the root is still the old one")
	}
	if len(serials) < 12 || len(issuers) < 3 {
		t.Errorf("%d certificates of %d issuers were in use, want at least 12 of 3", len(serials), len(issuers))
	}
	t.Logf("%d certificates of %d issuers were in use", len(serials), len(issuers))
}

// A process elsewhere joins with one pasted line, which is then worth nothing.
func TestProcessElsewhereJoinsByTokenOnce(t *testing.T) {
	s := startServer(t)
	code, out := s.run(t, "token", "create", "--service", "voting")
	if code != 0 {
		t.Fatalf("token create: exit code %d: %s", code, out)
	}
	file := filepath.Join(t.TempDir(), "token")
	var line string
	for l := range strings.Lines(out) {
		if strings.HasPrefix(l, "tulle1.") {
			line = strings.TrimSpace(l)
		}
	}
	if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// TULLE_SERVER is not set: the line holds the address.
	p := start(t, "echo", nil, "TULLE_SERVICE=voting", "TULLE_VERSION=v1", "TULLE_TOKEN_FILE="+file, "TULLE_STATE_DIR="+t.TempDir())
	p.line(t)
	s.awaitEndpoints(t, "voting", 1)
	conn := dial(t, s.join(t, mesh.Config{}), "mesh:///voting")
	if version, _, err := where(t.Context(), conn, grpc.WaitForReady(true)); err != nil || version != "v1" {
		t.Errorf("got %q, %v, want an answer of v1", version, err)
	}

	second := start(t, "echo", nil, "TULLE_SERVICE=voting", "TULLE_VERSION=v2", "TULLE_TOKEN_FILE="+file, "TULLE_STATE_DIR="+t.TempDir())
	second.line(t)
	eventually(t, 15*time.Second, "the second is told that the token was used", func(context.Context) bool {
		return strings.Contains(second.stderr.String(), "was used")
	})
	if n := len(s.endpoints(t.Context(), "voting")); n != 1 {
		t.Errorf("%d endpoints, want one", n)
	}
	audit := string(readFile(t, filepath.Join(s.data, "audit.log")))
	if !containsAll(audit, "spiffe://tulle.local/ns/default/svc/voting", "refused") {
		t.Errorf("the audit log does not tell of both:\n%s", audit)
	}
	for _, secret := range strings.Split(strings.Split(line, "@")[0], ".")[2:3] {
		for name, text := range map[string]string{"audit log": audit, "xdsserver's log": s.stderr.String(), "process's log": second.stderr.String()} {
			if strings.Contains(text, secret) {
				t.Errorf("the %s holds the secret", name)
			}
		}
	}
}

// What is another service's is nobody else's: neither its registration nor its
// policy.
func TestIdentityDecidesWhatIsOnesOwn(t *testing.T) {
	s := startServer(t)
	creds := s.credentials(t, "web")
	conn, err := grpc.NewClient(s.mesh, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()

	registration, err := registryv1.NewRegistryServiceClient(conn).Register(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := registration.Send(&registryv1.RegisterRequest{
		Service: "voting", Instance: "thief", Addresses: []string{"127.0.0.1:9"}, State: registryv1.State_STATE_SERVING,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := registration.Recv(); status.Code(err) != codes.PermissionDenied || !containsAll(err.Error(), `"web"`, `"voting"`) {
		t.Errorf("register for voting as web: %v, want PERMISSION_DENIED that names both", err)
	}

	ads := s.ads(t, "pretends-to-be-voting")
	ads.node.Cluster = "voting"
	ads.ask(&discoveryv3.DiscoveryRequest{TypeUrl: resource.ListenerType, ResourceNames: []string{resource.ServerListener("voting")}})
	if _, err := ads.Recv(); status.Code(err) != codes.PermissionDenied || !containsAll(err.Error(), "svc/hostile", "voting") {
		t.Errorf("ask for the policy of voting as hostile: %v, want PERMISSION_DENIED that names both", err)
	}
}
