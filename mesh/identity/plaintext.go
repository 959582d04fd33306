package identity

import (
	"cmp"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// A PlaintextCaller is a host whose connections to a permissive server had no TLS.
type PlaintextCaller struct {
	// Host is the caller's IP address, or "other" for all beyond the first 1024.
	Host string
	// Connections counts them since the process started.
	Connections uint64
	// Last is when the last of them was made.
	Last time.Time
}

const (
	// maxCallers bounds what strangers can make the process remember.
	maxCallers  = 1024
	otherCaller = "other"
)

// callers count connections by host. Its zero value is ready, and safe for
// concurrent use.
type callers struct {
	mu     sync.Mutex
	byHost map[string]*PlaintextCaller
}

func (c *callers) add(addr net.Addr, now time.Time) {
	host := hostOf(addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byHost == nil {
		c.byHost = map[string]*PlaintextCaller{}
	}
	caller := c.byHost[host]
	if caller == nil {
		if len(c.byHost) >= maxCallers {
			host = otherCaller
			caller = c.byHost[host]
		}
		if caller == nil {
			caller = &PlaintextCaller{Host: host}
			c.byHost[host] = caller
		}
	}
	caller.Connections++
	caller.Last = now
}

func (c *callers) list() []PlaintextCaller {
	c.mu.Lock()
	list := make([]PlaintextCaller, 0, len(c.byHost))
	for _, caller := range c.byHost {
		list = append(list, *caller)
	}
	c.mu.Unlock()
	slices.SortFunc(list, func(a, b PlaintextCaller) int {
		return cmp.Or(b.Last.Compare(a.Last), strings.Compare(a.Host, b.Host))
	})
	return list
}

// hostOf is an address without its port.
func hostOf(addr net.Addr) string {
	if addr == nil {
		return "unknown"
	}
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.IP.String()
	}
	if host, _, err := net.SplitHostPort(addr.String()); err == nil {
		return host
	}
	return addr.Network()
}
