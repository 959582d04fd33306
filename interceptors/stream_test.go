package interceptors_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// fakeStream is a grpc stream whose messages end as its fields say.
type fakeStream struct {
	grpc.ClientStream

	ctx        context.Context
	opts       []grpc.CallOption
	send, recv error
}

func (s *fakeStream) SendMsg(any) error { return s.send }
func (s *fakeStream) RecvMsg(any) error { return s.recv }

// finish is what grpc does when a stream ends.
func (s *fakeStream) finish() {
	for _, o := range s.opts {
		if o, ok := o.(grpc.OnFinishCallOption); ok {
			o.OnFinish(s.recv)
		}
	}
}

// open opens a stream through the interceptor onto s.
func open(ctx context.Context, c *configs, desc *grpc.StreamDesc, s *fakeStream, err error, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	streamer := func(ctx context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, _ string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		s.ctx, s.opts = ctx, opts
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	return interceptors.NewClient(interceptors.ClientConfig{Configs: c}).Stream(ctx, desc, nil, method, streamer, opts...)
}

var bidi = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

func TestStreamRoutes(t *testing.T) {
	var s fakeStream
	if _, err := open(t.Context(), voting(), bidi, &s, nil); err != nil {
		t.Fatal(err)
	}
	if rpc := call.FromContext(s.ctx); rpc == nil || rpc.Cluster != "voting/v2" {
		t.Errorf("the stream runs in %+v", rpc)
	}
	if len(s.opts) != 0 {
		t.Errorf("a stream without a timeout is given options: %v", s.opts)
	}
}

func TestStreamOfAnotherSchemePassesThrough(t *testing.T) {
	var s fakeStream
	got, err := open(t.Context(), &configs{}, bidi, &s, nil)
	if err != nil || got != grpc.ClientStream(&s) || call.FromContext(s.ctx) != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestStreamWithoutAConfigIsNotOpened(t *testing.T) {
	want := &call.Error{Reason: call.NoConfig, Code: codes.Unavailable}
	var s fakeStream
	if _, err := open(t.Context(), &configs{err: want}, bidi, &s, nil); !errors.Is(err, want) || s.ctx != nil {
		t.Errorf("got %v", err)
	}
}

func TestStreamTimeout(t *testing.T) {
	t.Run("it bounds the stream's life", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var s fakeStream
			stream, err := open(t.Context(), voting(timeout(time.Second)), bidi, &s, nil)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			<-s.ctx.Done()
			if got := time.Since(start); got != time.Second {
				t.Errorf("the stream's context ended after %v", got)
			}
			s.recv = status.FromContextError(s.ctx.Err()).Err()
			err = stream.RecvMsg(nil)
			if e := call.AsError(err); e == nil || e.Reason != call.RouteTimeout || e.Code != codes.DeadlineExceeded {
				t.Errorf("got %v", err)
			}
			s.finish()
		})
	})
	t.Run("its timer is released when the stream ends", func(t *testing.T) {
		var s fakeStream
		if _, err := open(t.Context(), voting(timeout(time.Hour)), bidi, &s, nil); err != nil {
			t.Fatal(err)
		}
		if s.ctx.Err() != nil {
			t.Fatal("the stream ended at once")
		}
		s.finish()
		if s.ctx.Err() == nil {
			t.Error("the deadline goes on after the stream")
		}
	})
	t.Run("its timer is released when the stream cannot be opened", func(t *testing.T) {
		var s fakeStream
		_, err := open(t.Context(), voting(timeout(time.Hour)), bidi, &s, status.Error(codes.Internal, "no stream"))
		if err == nil || s.ctx.Err() == nil {
			t.Errorf("the deadline goes on without a stream: %v", err)
		}
	})
	t.Run("the application's options are not written to", func(t *testing.T) {
		own := make([]grpc.CallOption, 1, 2)
		own[0] = grpc.WaitForReady(true)
		var s fakeStream
		if _, err := open(t.Context(), voting(timeout(time.Hour)), bidi, &s, nil, own...); err != nil {
			t.Fatal(err)
		}
		s.finish()
		if own[:2][1] != nil {
			t.Error("the interceptor wrote into the application's slice")
		}
	})
}

func TestStreamExplains(t *testing.T) {
	none := &call.Error{Reason: call.NoEndpoint, Code: codes.Unavailable, Detail: "none ready"}
	words := status.Error(codes.Unavailable, "grpc's words")

	t.Run("when it cannot be opened", func(t *testing.T) {
		streamer := func(ctx context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
			call.FromContext(ctx).Failure = none
			return nil, words
		}
		_, err := interceptors.NewClient(interceptors.ClientConfig{Configs: voting()}).Stream(t.Context(), bidi, nil, method, streamer)
		if !errors.Is(err, none) {
			t.Errorf("got %v, want %v", err, none)
		}
	})

	for _, tt := range []struct {
		name    string
		failure *call.Error
		err     error
		want    error
	}{
		{"a message that went through", nil, nil, nil},
		{"the end of the stream", none, io.EOF, io.EOF},
		{"an error of the service", nil, words, words},
		{"a second pick that found no endpoint", none, words, none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := fakeStream{send: tt.err, recv: tt.err}
			stream, err := open(t.Context(), voting(), bidi, &s, nil)
			if err != nil {
				t.Fatal(err)
			}
			call.FromContext(s.ctx).Failure = tt.failure
			if got := stream.SendMsg(nil); !errors.Is(got, tt.want) {
				t.Errorf("SendMsg: got %v, want %v", got, tt.want)
			}
			if got := stream.RecvMsg(nil); !errors.Is(got, tt.want) {
				t.Errorf("RecvMsg: got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestAFaultEndsTheStreamBeforeItIsOpened(t *testing.T) {
	for _, tt := range []struct {
		name string
		code codes.Code
		desc *grpc.StreamDesc
		// Either it cannot be opened, or its messages end so.
		open, send, recv codes.Code
	}{
		{"with its code", codes.NotFound, bidi, codes.NotFound, 0, 0},
		{"with OK, as a stream without messages", codes.OK, bidi, codes.OK, codes.Unknown, codes.Unknown},
		{"with OK, after what the server alone would stream", codes.OK, &grpc.StreamDesc{ServerStreams: true}, codes.OK, codes.OK, codes.Unknown},
		{"with OK, which is no answer to a stream that ends with one", codes.OK, &grpc.StreamDesc{ClientStreams: true}, codes.OK, codes.Unknown, codes.Internal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s fakeStream
			c := voting(faulty(resource.Fault{AbortPerMillion: all, AbortCode: tt.code}))
			stream, err := open(t.Context(), c, tt.desc, &s, nil)
			if status.Code(err) != tt.open {
				t.Fatalf("open: %v, want %v", err, tt.open)
			}
			if s.ctx != nil {
				t.Error("the stream was opened")
			}
			if err != nil {
				return
			}
			// io.EOF is no status, for which status.Code says Unknown.
			if err := stream.SendMsg(nil); status.Code(err) != tt.send || tt.send == codes.Unknown && err != io.EOF { //nolint:errorlint // grpc wants it bare
				t.Errorf("SendMsg: %v", err)
			}
			if err := stream.RecvMsg(nil); status.Code(err) != tt.recv || tt.recv == codes.Unknown && err != io.EOF { //nolint:errorlint // grpc wants it bare
				t.Errorf("RecvMsg: %v", err)
			}
			md, err := stream.Header()
			if md != nil || err != nil || stream.Trailer() != nil || stream.CloseSend() != nil || stream.Context() == nil {
				t.Errorf("an ended stream has header %v, %v, trailer %v", md, err, stream.Trailer())
			}
		})
	}
}

func TestAFaultDelaysTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s fakeStream
		start := time.Now()
		c := voting(timeout(time.Minute), faulty(resource.Fault{DelayPerMillion: all, Delay: time.Second}))
		if _, err := open(t.Context(), c, bidi, &s, nil); err != nil {
			t.Fatal(err)
		}
		defer s.finish()
		if got := time.Since(start); got != time.Second {
			t.Errorf("opened after %v, want 1s", got)
		}
		if deadline, _ := s.ctx.Deadline(); deadline.Sub(start) != time.Second+time.Minute {
			t.Errorf("the route's clock started before the delay was over: deadline after %v", deadline.Sub(start))
		}
	})
}

func BenchmarkStream(b *testing.B) {
	client := interceptors.NewClient(interceptors.ClientConfig{Configs: voting()})
	var s fakeStream
	streamer := func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, ...grpc.CallOption) (grpc.ClientStream, error) {
		return &s, nil
	}
	b.ReportAllocs()
	for b.Loop() {
		stream, err := client.Stream(b.Context(), bidi, nil, method, streamer)
		if err != nil || stream.SendMsg(nil) != nil || stream.RecvMsg(nil) != nil {
			b.Fatal(err)
		}
	}
}
