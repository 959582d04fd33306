package interceptors_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// asks opens a stream that is answered once, as client-side streaming is.
var asks = &grpc.StreamDesc{ClientStreams: true}

func TestStreamsAreCounted(t *testing.T) {
	one := func(s grpc.ServerStream) error {
		if err := after(1, codes.OK)(s); err != nil {
			return err
		}
		return s.SendMsg(wrapperspb.String("one"))
	}
	for _, tt := range []struct {
		name     string
		config   *configs
		handlers []func(grpc.ServerStream) error
		do       func(t *testing.T, conn *grpc.ClientConn)
		want     map[string]float64
	}{
		{
			"one that is read to its end", voting(), []func(grpc.ServerStream) error{parrot}, func(t *testing.T, conn *grpc.ClientConn) {
				s := newStream(t, conn, bidi)
				send(t, s, "a")
				if err := s.CloseSend(); err != nil {
					t.Fatal(err)
				}
				if _, err := rest(s); err != io.EOF { //nolint:errorlint // grpc returns it bare
					t.Fatal(err)
				}
			}, map[string]float64{"client.call voting OK": 1, attempt + "OK": 1},
		},
		{
			"one that is answered once", voting(), []func(grpc.ServerStream) error{one}, func(t *testing.T, conn *grpc.ClientConn) {
				s := newStream(t, conn, asks)
				send(t, s, "a")
				if err := s.RecvMsg(new(wrapperspb.StringValue)); err != nil {
					t.Fatal(err)
				}
			}, map[string]float64{"client.call voting OK": 1, attempt + "OK": 1},
		},
		{
			"one that the service ends", voting(), []func(grpc.ServerStream) error{after(0, codes.DataLoss)}, func(t *testing.T, conn *grpc.ClientConn) {
				if _, err := rest(newStream(t, conn, bidi)); status.Code(err) != codes.DataLoss {
					t.Fatal(err)
				}
			}, map[string]float64{"client.call voting DATA_LOSS": 1, attempt + "DATA_LOSS": 1},
		},
		{
			"one that is opened again", voting(traffic(retried(3))),
			[]func(grpc.ServerStream) error{after(0, codes.Unavailable), after(1, codes.Unavailable), parrot},
			func(t *testing.T, conn *grpc.ClientConn) {
				s := newStream(t, conn, bidi)
				send(t, s, "a")
				if err := s.CloseSend(); err != nil {
					t.Fatal(err)
				}
				if _, err := rest(s); err != io.EOF { //nolint:errorlint // grpc returns it bare
					t.Fatal(err)
				}
			},
			map[string]float64{"client.call voting OK": 1, attempt + "UNAVAILABLE": 2, attempt + "OK": 1, "client.retries voting": 2},
		},
		{
			"one that the application leaves", voting(), []func(grpc.ServerStream) error{parrot}, func(t *testing.T, conn *grpc.ClientConn) {
				ctx, cancel := context.WithCancel(t.Context())
				if _, err := conn.NewStream(ctx, bidi, method); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				cancel()
				synctest.Wait()
			}, map[string]float64{"client.call voting CANCELLED": 1, attempt + "CANCELLED": 1},
		},
		{
			"one that it leaves where it could be opened again", voting(traffic(retried(3))),
			[]func(grpc.ServerStream) error{parrot},
			func(t *testing.T, conn *grpc.ClientConn) {
				ctx, cancel := context.WithCancel(t.Context())
				if _, err := conn.NewStream(ctx, bidi, method); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				cancel()
				synctest.Wait()
			},
			map[string]float64{"client.call voting CANCELLED": 1, attempt + "CANCELLED": 1},
		},
		{
			"one whose connection is closed", voting(), []func(grpc.ServerStream) error{parrot}, func(t *testing.T, conn *grpc.ClientConn) {
				s := newStream(t, conn, bidi)
				synctest.Wait()
				conn.Close()
				_, _ = rest(s)
			}, map[string]float64{"client.call voting CANCELLED": 1, attempt + "CANCELLED": 1},
		},
		{
			"one that idles", voting(traffic(func(t *resource.Traffic) { t.IdleTimeout = time.Minute })),
			[]func(grpc.ServerStream) error{parrot},
			func(t *testing.T, conn *grpc.ClientConn) {
				if _, err := rest(newStream(t, conn, bidi)); call.AsError(err) == nil {
					t.Fatal(err)
				}
			},
			map[string]float64{"client.call voting DEADLINE_EXCEEDED": 1, attempt + "CANCELLED": 1, "client.refused voting STREAM_IDLE": 1},
		},
		{
			"one that a fault ends with nothing", voting(faulty(resource.Fault{AbortPerMillion: all})),
			[]func(grpc.ServerStream) error{parrot},
			func(t *testing.T, conn *grpc.ClientConn) {
				if _, err := rest(newStream(t, conn, bidi)); err != io.EOF { //nolint:errorlint // grpc returns it bare
					t.Fatal(err)
				}
			},
			map[string]float64{"client.call voting OK": 1, "client.refused voting FAULT_INJECTED": 1},
		},
		{
			"one that is open is a stream, and not a call yet", voting(), []func(grpc.ServerStream) error{parrot}, func(t *testing.T, conn *grpc.ClientConn) {
				newStream(t, conn, bidi)
				synctest.Wait()
			}, map[string]float64{"streams client": 1},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := telemetry.New(telemetry.Config{})
				conn, _ := dialBackendBy(t, interceptors.NewClient(interceptors.ClientConfig{Configs: tt.config, Telemetry: i}), tt.handlers...)
				tt.do(t, conn)
				synctest.Wait()
				if diff := cmp.Diff(tt.want, counted(i)); diff != "" {
					t.Errorf("counted (-want +got):\n%s", diff)
				}
			})
		})
	}
}
