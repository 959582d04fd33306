package mesh

import (
	"context"
	"net"
	"time"
)

// A peer that vanished without a word is noticed by the kernel, in about
// probeIdle + probes*probeInterval, rather than by gRPC's pings: those cost a
// goroutine for each connection, this costs nothing. Data that nobody
// acknowledges ends the connection after unacknowledged.
const (
	probeIdle      = 10 * time.Second
	probeInterval  = 3 * time.Second
	probes         = 3
	unacknowledged = 20 * time.Second
)

// endpoints dials endpoints. Their addresses are IPs that xdsserver vouches for;
// a proxy that the environment names is for the world outside, not for them.
var endpoints = net.Dialer{
	KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: probeIdle, Interval: probeInterval, Count: probes},
	Control:         controlSocket,
}

func dialEndpoint(ctx context.Context, addr string) (net.Conn, error) {
	return endpoints.DialContext(ctx, "tcp", addr)
}
