package hedge_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/interceptors/hedge"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// serve runs a server whose handler is told the number of the attempt, and returns a
// connection to it. It is called in a bubble.
func serve(t *testing.T, handler func(stream grpc.ServerStream, attempt string) error) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 16)
	srv := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		attempt := "0"
		if v := metadata.ValueFromIncomingContext(stream.Context(), hedge.Header); len(v) > 0 {
			attempt = v[0]
		}
		if err := stream.RecvMsg(&wrapperspb.StringValue{}); err != nil {
			return err
		}
		_ = stream.SetHeader(metadata.Pairs("h", attempt))
		stream.SetTrailer(metadata.Pairs("t", attempt))
		return handler(stream, attempt)
	}))
	var running sync.WaitGroup
	running.Go(func() { _ = srv.Serve(listener) })
	conn, err := grpc.NewClient("passthrough:///voting",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		srv.Stop()
		running.Wait()
	})
	return conn
}

func invoke(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, opts ...grpc.CallOption) error {
	return cc.Invoke(ctx, method, req, reply, opts...)
}

// What grpc writes through options is the winner's, also where the loser ends in the
// same instant: the race detector watches.
func TestOptionsAreTheWinners(t *testing.T) {
	late := func(stream grpc.ServerStream) error { // until it is cancelled
		<-stream.Context().Done()
		return stream.Context().Err()
	}
	for _, tt := range []struct {
		name    string
		handler func(stream grpc.ServerStream, attempt string) error
		want    string // the attempt
		code    codes.Code
	}{
		{"a first attempt in time", func(s grpc.ServerStream, attempt string) error {
			return s.SendMsg(wrapperspb.String(attempt))
		}, "0", codes.OK},
		{"a hedge beside a late first attempt", func(s grpc.ServerStream, attempt string) error {
			if attempt == "0" {
				return late(s)
			}
			return s.SendMsg(wrapperspb.String(attempt))
		}, "1", codes.OK},
		{"a hedge beside a first attempt that answered half", func(s grpc.ServerStream, attempt string) error {
			if err := s.SendMsg(wrapperspb.String(attempt)); err != nil || attempt == "1" {
				return err
			}
			return late(s)
		}, "1", codes.OK},
		{"a hedge that fails for good", func(s grpc.ServerStream, attempt string) error {
			if attempt == "0" {
				return late(s)
			}
			return status.Error(codes.NotFound, "no such vote")
		}, "1", codes.NotFound},
		{"a hedge that fails in vain", func(s grpc.ServerStream, attempt string) error {
			if attempt == "0" {
				return status.Error(codes.Unavailable, "busy")
			}
			return status.Error(codes.NotFound, "no such vote")
		}, "1", codes.NotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := serve(t, tt.handler)
				header, trailer := metadata.Pairs("h", "old"), metadata.Pairs("t", "old")
				var from peer.Peer
				var finished []error
				options := []grpc.CallOption{
					grpc.WaitForReady(true),
					grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from),
					grpc.OnFinish(func(err error) { finished = append(finished, err) }),
				}
				given := slices.Clone(options)
				rpc := &call.Call{Context: metadata.AppendToOutgoingContext(t.Context(), "k", "v"), Service: "voting"}
				rpc.Begin(0)
				reply := wrapperspb.String("old")
				var hedges hedge.Hedger
				_, err := hedges.Do(rpc, hedge.Plan{
					Policy:    &resource.Hedge{Delay: 10 * ms, Attempts: 2},
					Retryable: resource.Codes(uint32(codes.Unavailable)),
				}, hedge.Unary{Method: method, Request: wrapperspb.String("vote"), Reply: reply, Conn: conn, Invoker: invoke, Options: options})
				if status.Code(err) != tt.code {
					t.Fatalf("got %v, want %v", err, tt.code)
				}
				if tt.code == codes.OK && reply.Value != tt.want {
					t.Errorf("the reply is of attempt %q, want %q", reply.Value, tt.want)
				}
				if tt.code == codes.OK && (len(header["h"]) != 1 || header["h"][0] != tt.want) {
					t.Errorf("the header is %v, want that of %s", header, tt.want)
				}
				if len(trailer["t"]) != 1 || trailer["t"][0] != tt.want {
					t.Errorf("the trailer is %v, want that of %s", trailer, tt.want)
				}
				if from.Addr == nil {
					t.Error("there is no peer")
				}
				if len(finished) != 1 || !errors.Is(finished[0], err) && status.Code(finished[0]) != tt.code {
					t.Errorf("OnFinish heard %v, want %v once", finished, err)
				}
				for i := range given[:4] {
					if options[i] != given[i] {
						t.Error("the application's options have changed")
					}
				}
			})
		})
	}
}

// An attempt that never reaches a stream leaves the application's targets alone, as
// grpc does.
func TestOptionsOfACallWithoutAStreamStayAsTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serve(t, func(grpc.ServerStream, string) error { return nil })
		conn.Close()
		header := metadata.Pairs("h", "old")
		rpc := &call.Call{Context: t.Context()}
		rpc.Begin(0)
		var hedges hedge.Hedger
		_, err := hedges.Do(rpc, hedge.Plan{Policy: &resource.Hedge{Delay: 10 * ms, Attempts: 2}}, hedge.Unary{
			Method: method, Request: wrapperspb.String("vote"), Reply: wrapperspb.String(""), Conn: conn, Invoker: invoke,
			Options: []grpc.CallOption{grpc.Header(&header)},
		})
		if err == nil || len(header["h"]) != 1 {
			t.Errorf("got %v and %v", err, header)
		}
	})
}

// A handler that does not hear that its call was given up does not keep the client.
func TestALoserThatIgnoresItsEndKeepsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		conn := serve(t, func(s grpc.ServerStream, attempt string) error {
			if attempt == "0" {
				<-release
			}
			return s.SendMsg(wrapperspb.String(attempt))
		})
		defer close(release)
		rpc := &call.Call{Context: t.Context()}
		rpc.Begin(0)
		reply := wrapperspb.String("")
		var hedges hedge.Hedger
		tally, err := hedges.Do(rpc, hedge.Plan{Policy: &resource.Hedge{Delay: 10 * ms, Attempts: 2}},
			hedge.Unary{Method: method, Request: wrapperspb.String("vote"), Reply: reply, Conn: conn, Invoker: invoke})
		if err != nil || reply.Value != "1" || !tally.Won {
			t.Errorf("got %v, %v, %+v", reply, err, tally)
		}
	})
}
