package consul

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// maxAnswer bounds one answer of Consul, in bytes: 5,000 instances of one service with
// everything Consul says of them are 10 MB.
const maxAnswer = 256 << 20

// A transport gives each request the newest token, and bounds what comes back.
type transport struct {
	next   *http.Transport
	tokens *tokens
	most   int64 // bytes of an answer
	// turn is held while a connection is made, nil over HTTP/1.1 alone: queries that begin
	// together would dial together, and Consul refuses more than 200 connections from one
	// address, where one carries 250 queries over HTTP/2.
	turn chan struct{}
	// certificate is the file of the one that Consul is shown if it asks, or empty.
	certificate string
	// unproven is true once Consul wanted a certificate, and there was none.
	unproven atomic.Bool
}

var _ http.RoundTripper = (*transport)(nil)

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := t.tokens.current()
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Del("X-Consul-Token") // of the environment, which the caller did not mean
	if token != "" {
		r.Header.Set("X-Consul-Token", token)
	}
	done, err := t.enter(&r)
	if err != nil {
		return nil, err
	}
	defer done()
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, t.explain(err)
	}
	resp.Body = &bounded{ReadCloser: resp.Body, left: t.most, most: t.most}
	return resp, nil
}

// explain says what an error of the connection may mean. Consul says it too, with an alert,
// but then closes the connection, and what is seen depends on who is faster.
func (t *transport) explain(err error) error {
	switch {
	case t.unproven.Load():
		return &explained{text: "it wants a certificate of who asks: give one (--consul-cert, --consul-key)", cause: err}
	case t.certificate != "" && ended(err):
		return &explained{text: "it closed the connection, maybe as it does not take the certificate in " + t.certificate, cause: err}
	}
	return err
}

// ended reports whether a connection ended that was made.
func ended(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) ||
		strings.HasSuffix(err.Error(), "client conn could not be established") // net/http has no value for it
}

// enter waits for the turn, which ends when the request has a connection, or done is
// called.
func (t *transport) enter(r **http.Request) (done func(), err error) {
	if t.turn == nil {
		return func() {}, nil
	}
	ctx := (*r).Context()
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	done = sync.OnceFunc(func() { <-t.turn })
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { done() }}
	*r = (*r).WithContext(httptrace.WithClientTrace(ctx, trace))
	return done, nil
}

// bounded is a body that ends with an error where it is too long.
type bounded struct {
	io.ReadCloser

	left, most int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("consul: answer is longer than %d MiB", b.most>>20)
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}
