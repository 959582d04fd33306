package resource

import "time"

// A Listener is what a client of one service starts from.
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
}

// ResourceName implements [Resource].
func (l *Listener) ResourceName() string { return l.Name }
