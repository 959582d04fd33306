package mesh_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/mesh/meshtest"
)

// A caller from before the mesh is let in for as long as the operator says, and is
// counted; then neither its new connections nor those it has are of any use.
func TestPlaintextIsTakenUntilItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		in := m.Serve("voting", whoami)
		plain := func() *grpc.ClientConn {
			t.Helper()
			conn, err := grpc.NewClient("passthrough:///"+in.Address,
				grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(m.Network.Dial))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		_, meshed := caller(t, m, mesh.Config{})
		refused := plain()
		if _, err := ask(t.Context(), refused); status.Code(err) != codes.Unavailable {
			t.Errorf("a strict port took plaintext: %v", err)
		}
		refused.Close()

		until := time.Now().Add(10 * time.Minute).Truncate(time.Second)
		m.Apply("apiVersion: tulle/v1\nkind: Service\nmetadata: {name: voting}\nspec: {mtls: {mode: permissive, until: " +
			until.UTC().Format(time.RFC3339) + "}}\n")
		time.Sleep(time.Second)
		conn := plain()
		// whoami has no answer for a caller without an identity: that it is asked is enough.
		if _, err := ask(t.Context(), conn); status.Code(err) != codes.Internal {
			t.Errorf("a permissive port: %v", err)
		}
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/tulle.test.Name/Echo")
		if err != nil {
			t.Fatal(err)
		}
		message := wrapperspb.String("hello")
		if err := errors.Join(stream.SendMsg(message), stream.RecvMsg(message)); err != nil {
			t.Fatal(err)
		}
		if got := in.Mesh.Status().Identity.Plaintext; len(got) != 1 || got[0].Connections != 1 {
			t.Errorf("plaintext callers: %+v", got)
		}
		time.Sleep(10 * time.Second)
		seen := false
		for _, c := range m.Callers("voting") {
			seen = seen || c.ID == "" && c.Address != "" && c.Allowed > 0
		}
		if !seen {
			t.Errorf("callers: %+v, want one without an identity", m.Callers("voting"))
		}

		if err := stream.RecvMsg(message); status.Code(err) != codes.Unauthenticated {
			t.Errorf("the stream ended with %v", err)
		}
		if late := time.Since(until); late < 0 || late > 5*time.Second {
			t.Errorf("the stream ended %v after the permission", late)
		}
		if _, err := ask(t.Context(), conn); status.Code(err) != codes.Unauthenticated {
			t.Errorf("on a connection from before: %v", err)
		}
		if _, err := ask(t.Context(), plain()); status.Code(err) != codes.Unavailable {
			t.Errorf("on a new connection: %v", err)
		}
		if _, err := ask(t.Context(), meshed); err != nil {
			t.Errorf("a caller with an identity: %v", err)
		}
	})
}
