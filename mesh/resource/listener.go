package resource

import "time"

// A Listener is what a client of one service starts from, or a server of one.
type Listener struct {
	Name string
	// RouteName is the RouteConfiguration to subscribe to; empty when Routes is set.
	RouteName string
	// Routes is the route configuration carried inline, or nil.
	Routes *RouteConfiguration
	// MaxStreamDuration bounds calls whose route sets no timeout; zero means no
	// bound.
	MaxStreamDuration time.Duration
	// Fault is the listener-wide fault, overridden by virtual host, route and
	// weighted cluster in that order (gRFC A33); nil means none.
	Fault *Fault
	// FaultFilter is true where the listener lists the fault filter: without
	// it, faults of routes are not applied.
	FaultFilter bool
	// Server is what is said to a server; nil for a client's Listener. A server's
	// has neither a MaxStreamDuration nor a fault.
	Server *Server
}

// ResourceName implements [Resource].
func (l *Listener) ResourceName() string { return l.Name }
