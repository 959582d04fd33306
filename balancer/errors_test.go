package balancer_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tulle-mesh/tulle/mesh/call"
)

func TestFailures(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(w *world, o *ours)
		cluster string
		reason  call.Reason
		text    string
		code    codes.Code // of a call that has a minute
		status  bool       // whether waiting for ready does not help
	}{
		{
			name:    "no endpoint is known",
			prepare: func(_ *world, o *ours) { o.update(one("")) },
			reason:  call.NoEndpoint,
			text:    `mesh: no healthy endpoint for "voting" (none known); try: xdsserver endpoints voting`,
			code:    codes.Unavailable,
		},
		{
			name:    "one endpoint refuses",
			prepare: func(_ *world, o *ours) { o.update(one("a")) },
			reason:  call.NoEndpoint,
			text: `mesh: no healthy endpoint for "voting" (1 known: 1 refused 10.0.0.97:8080: connect: connection refused); ` +
				`try: xdsserver endpoints voting`,
			code: codes.Unavailable,
		},
		{
			name: "some are connecting and some refuse",
			prepare: func(w *world, o *ours) {
				w.silence("a", "b")
				o.update(one("abcd"))
			},
			reason: call.NoEndpoint,
			text: `mesh: no healthy endpoint for "voting" (4 known: 2 connecting, ` +
				`2 refused, first 10.0.0.99:8080: connect: connection refused); try: xdsserver endpoints voting`,
			code: codes.DeadlineExceeded, // it waits for those that connect
		},
		{
			name: "a version is connecting and its next priority was not tried",
			prepare: func(w *world, o *ours) {
				w.silence("a")
				o.set(configOf(o.t, map[string]spec{"voting/v2": ranked("a", "b")}))
			},
			cluster: "voting/v2",
			reason:  call.NoEndpoint,
			text:    `mesh: no healthy endpoint for "voting/v2" (2 known: 1 connecting, 1 not tried); try: xdsserver endpoints voting`,
			code:    codes.DeadlineExceeded,
		},
		{
			name: "a rule drops it",
			prepare: func(w *world, o *ours) {
				w.up("a")
				s := one("a")
				s.drops = []uint32{100}
				o.update(s)
			},
			reason: call.Dropped,
			text:   `mesh: dropped by rule "a", which takes 100 % of the calls to "voting"`,
			code:   codes.Unavailable,
			status: true,
		},
		{
			name: "the limit is reached",
			prepare: func(w *world, o *ours) {
				w.up("a")
				s := one("a")
				s.limit = 0 + 1
				o.update(s)
			},
			reason: call.MaxRequests,
			text: `mesh: max requests reached: this process has 0 calls open to "voting", its limit; ` +
				`try: raise the limit, or add instances of voting`,
			code:   codes.Unavailable,
			status: true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				o := newOurs(t, w, nil)
				tt.prepare(w, o)
				synctest.Wait()
				if tt.cluster == "" {
					tt.cluster = service
				}

				// Soon, before a silent endpoint is given up.
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				rpc := &call.Call{Context: ctx, Cluster: tt.cluster}
				err := o.conn.Invoke(rpc, whoMethod, &emptypb.Empty{}, &emptypb.Empty{})
				if status.Code(err) != tt.code {
					t.Errorf("the call got %v, want %v", err, tt.code)
				}
				if rpc.Failure == nil {
					t.Fatal("the call has no Failure")
				}
				if rpc.Failure.Reason != tt.reason || rpc.Failure.Error() != tt.text {
					t.Errorf("Failure = %s %s\nwant %s %s", rpc.Failure.Reason, rpc.Failure, tt.reason, tt.text)
				}
				if tt.code == codes.Unavailable && status.Convert(err).Message() != tt.text {
					t.Errorf("the status says %q", status.Convert(err).Message())
				}
				if tt.status && call.AsError(err) != rpc.Failure {
					t.Errorf("the call got %T, want its Failure", err)
				}

				want := "DeadlineExceeded"
				if tt.status {
					want = "Unavailable"
				}
				waiting, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				rpc = &call.Call{Context: waiting, Cluster: tt.cluster}
				if got := who(rpc, o.conn, whoMethod, grpc.WaitForReady(true)); got != want {
					t.Errorf("a call that waits for ready got %s, want %s", got, want)
				}
				if rpc.Failure == nil || rpc.Failure.Reason != tt.reason {
					t.Errorf("Failure of a call that waited = %v", rpc.Failure)
				}
			})
		})
	}
}

func TestAFailureIsGoneOnceAnEndpointIsPicked(t *testing.T) {
	t.Run("a call waits and succeeds", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			o := newOurs(t, w, nil)
			o.update(one("a"))
			synctest.Wait()
			rpc := &call.Call{Context: t.Context(), Cluster: service}
			if got := who(rpc, o.conn, whoMethod); got != "Unavailable" || rpc.Failure == nil {
				t.Fatalf("the first try got %s, Failure %v", got, rpc.Failure)
			}
			w.up("a")
			if got := who(rpc, o.conn, whoMethod, grpc.WaitForReady(true)); got != "a" {
				t.Errorf("the second try got %s", got)
			}
			if rpc.Failure != nil {
				t.Errorf("Failure = %v", rpc.Failure)
			}
		})
	})
}
