package serve

import (
	"context"
	"io"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// A fake is an ADS stream without grpc under it, fast enough for tests that take
// thousands. Requests and responses pass through the codec in encoded form.
type fake[Resp proto.Message] struct {
	grpc.ServerStream // the rest is not called

	ctx  context.Context
	stop context.CancelFunc
	in   chan []byte
	out  chan []byte
	done chan error
	make func() Resp
}

// newFake opens a stream. It must be in a bubble.
func newFake[Resp proto.Message](s *Server, delta bool, empty func() Resp) *fake[Resp] {
	f := &fake[Resp]{in: make(chan []byte), out: make(chan []byte, 100), done: make(chan error, 1), make: empty}
	ctx, stop := context.WithCancel(context.Background())
	f.ctx, f.stop = grpc.NewContextWithServerTransportStream(ctx, transport{stop: stop}), stop
	go func() {
		err := s.serve(f, delta)
		f.stop() // as grpc does, which ends reads
		f.done <- err
	}()
	return f
}

// transport is what grpc has under a stream, as far as it is used.
type transport struct {
	grpc.ServerTransportStream

	stop context.CancelFunc
}

// WriteStatus ends reads, as grpc's does.
func (t transport) WriteStatus(*status.Status) error {
	t.stop()
	return nil
}

func (f *fake[Resp]) Context() context.Context { return f.ctx }

func (f *fake[Resp]) RecvMsg(m any) error {
	select {
	case b, ok := <-f.in:
		if !ok {
			return io.EOF
		}
		return codec{}.Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, m)
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

func (f *fake[Resp]) SendMsg(m any) error {
	b, err := codec{}.Marshal(m)
	if err != nil {
		return err
	}
	f.out <- b.Materialize()
	return nil
}

// send delivers a request, and reports whether the stream was open to take it.
func (f *fake[Resp]) send(b []byte) bool {
	select {
	case f.in <- b:
		synctest.Wait()
		return true
	case <-f.ctx.Done():
		return false
	}
}

// received returns what has come.
func (f *fake[Resp]) received() []Resp {
	synctest.Wait()
	var list []Resp
	for {
		select {
		case b := <-f.out:
			m := f.make()
			if err := proto.Unmarshal(b, m); err != nil {
				panic(err)
			}
			list = append(list, m)
		default:
			return list
		}
	}
}

// end closes the stream from the client's side and returns how it ended.
func (f *fake[Resp]) end() error {
	select {
	case <-f.ctx.Done():
	default:
		close(f.in)
	}
	return <-f.done
}
