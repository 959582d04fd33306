package dashboard

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
)

// inside is a transport to a handler of this process: what it answers is read as it is
// written, and waits to be.
type inside struct {
	handler http.Handler
	// panicked is told what a handler panicked with: it ends that answer, and no more.
	panicked func(any)
}

var errPanicked = errors.New("dashboard: the handler panicked")

// RoundTrip implements http.RoundTripper. Closing the answer's body ends the request, and
// waits for its handler.
func (t inside) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	out, in := io.Pipe()
	w := &insideWriter{header: http.Header{}, body: in, begun: make(chan struct{})}
	request := r.Clone(ctx)
	request.RequestURI = r.URL.RequestURI()
	if request.Body == nil {
		request.Body = http.NoBody
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer request.Body.Close()
		defer func() {
			if p := recover(); p != nil {
				t.panicked(p)
				_ = in.CloseWithError(errPanicked)
			}
			w.WriteHeader(http.StatusInternalServerError) // unless it has written one
			_ = in.Close()
		}()
		t.handler.ServeHTTP(w, request)
		w.WriteHeader(http.StatusOK)
	})
	body := &insideBody{PipeReader: out, end: func() {
		cancel()
		_ = out.Close()
		wg.Wait()
	}}
	select {
	case <-w.begun:
	case <-ctx.Done():
		_ = body.Close()
		return nil, ctx.Err()
	}
	return &http.Response{
		Status: http.StatusText(w.code), StatusCode: w.code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: body, ContentLength: -1, Request: r,
	}, nil
}

// insideWriter is the handler's side of an answer.
type insideWriter struct {
	header http.Header
	body   *io.PipeWriter

	once  sync.Once
	begun chan struct{} // closed when code and sent are set
	code  int
	sent  http.Header
}

// Header implements http.ResponseWriter.
func (w *insideWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *insideWriter) WriteHeader(code int) {
	w.once.Do(func() {
		w.code, w.sent = code, w.header.Clone()
		close(w.begun)
	})
}

// Write implements http.ResponseWriter.
func (w *insideWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// Flush implements http.Flusher: nothing is held back.
func (w *insideWriter) Flush() { w.WriteHeader(http.StatusOK) }

// insideBody is the reader's side of an answer.
type insideBody struct {
	*io.PipeReader

	once sync.Once
	end  func()
}

// Close implements io.Closer.
func (b *insideBody) Close() error {
	b.once.Do(b.end)
	return nil
}
