package admin

import (
	"net"
	"net/http"
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
