package admin

import (
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
)

// closer notes that it was closed.
type closer struct {
	net.Conn

	closed bool
}

func (c *closer) Close() error {
	c.closed = true
	return nil
}

func TestConnectionsAreBounded(t *testing.T) {
	state := crowd(2)
	conns := []*closer{{}, {}, {}, {}}
	state(conns[0], http.StateNew)
	state(conns[0], http.StateActive)
	state(conns[1], http.StateNew)
	state(conns[2], http.StateNew)
	if conns[0].closed || conns[1].closed || !conns[2].closed {
		t.Error("not the third is closed")
	}
	state(conns[2], http.StateClosed)
	state(conns[0], http.StateClosed)
	state(conns[3], http.StateNew)
	if conns[3].closed {
		t.Error("the one after one that went is closed")
	}
}

func TestComplaintsOfClientsAreNoNews(t *testing.T) {
	var b strings.Builder
	l := httpLog{slog.New(slog.NewTextHandler(&b, nil))}
	_, _ = l.Write([]byte("http: TLS handshake error from 127.0.0.1:1: EOF\n"))
	if b.Len() > 0 {
		t.Errorf("the operator is told %s", &b)
	}
	_, _ = l.Write([]byte("http: panic serving 127.0.0.1:1: oh\ngoroutine 1\n"))
	if !strings.Contains(b.String(), "level=ERROR") {
		t.Error("the operator is not told of a panic")
	}
}
