package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tulle-mesh/tulle/bench/benchv1"
)

// serverStream takes one stream of messages; it is one sample of latency.
func (w *worker) serverStream(ctx context.Context, began time.Time) {
	got := int64(0)
	err := func() error {
		stream, err := w.client.ServerStream(ctx, &benchv1.ServerStreamRequest{Messages: streamMessages, Bytes: uint32(w.plan.Bytes)})
		if err != nil {
			return err
		}
		for {
			if _, err := stream.Recv(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
			got++
		}
		if got != streamMessages {
			return fmt.Errorf("%d messages, want %d", got, streamMessages)
		}
		return nil
	}()
	w.took(streamMessages, time.Since(began), err)
}

// bidiStream sends messages one after another, each when the one before has come back;
// each is a sample.
func (w *worker) bidiStream(ctx context.Context) {
	began := time.Now()
	stream, err := w.client.BidiStream(ctx)
	if err != nil {
		w.took(1, time.Since(began), err)
		return
	}
	for range streamMessages {
		began = time.Now()
		err := stream.Send(&benchv1.BidiStreamRequest{Body: w.body})
		if err == nil || errors.Is(err, io.EOF) {
			_, err = stream.Recv()
		}
		w.took(1, time.Since(began), err)
		if err != nil {
			return
		}
	}
	if err := stream.CloseSend(); err != nil {
		return
	}
	_, _ = stream.Recv() // the end, without which the stream would not be over
}
