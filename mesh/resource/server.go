package resource

import "time"

// A Server is what a server of one service starts from. Its connections
// are made with its own identity, and only with peers that have one of its trust
// domain.
type Server struct {
	// Address is the host and port it is for, as a stock xDS server compares them
	// with its own.
	Address string
	// PermissiveUntil is until when callers without a certificate may connect, to
	// be decided on as such; zero means never.
	PermissiveUntil time.Time
	// Access decides the calls of routes that have no Access of their own; it is
	// never nil.
	Access *Access
}

// An Inbound is everything a server needs to decide about calls of one service,
// assembled from resources that fit together. It is immutable.
type Inbound struct {
	// Listener has a Server.
	Listener *Listener
	// VirtualHost has the routes.
	VirtualHost *VirtualHost
	// Revision grows with each Inbound of the service in this process.
	Revision uint64
}

// Access returns what decides calls of method, as in "/package.Service/Method":
// that of the first route that matches, the listener's where the route has none.
// It returns nil, which denies all, where no route matches or the first that does
// is none of a server's: one with another action, or one that matches by more than
// the path.
//
// It remembers nothing of the methods it has seen, which callers make up, and
// does not allocate.
func (i *Inbound) Access(method string) *Access {
	r := i.route(method)
	switch {
	case r == nil:
		return nil
	case r.Access != nil:
		return r.Access
	default:
		return i.Listener.Server.Access
	}
}

// Admission returns which calls of method are taken of those that are let in, nil
// for all of them. Like Access it does not allocate.
func (i *Inbound) Admission(method string) *Admission {
	if r := i.route(method); r != nil {
		return r.Admission
	}
	return nil
}

// route returns the first route that matches, nil where it is none of a server's.
func (i *Inbound) route(method string) *Route {
	if i == nil || i.Listener == nil || i.Listener.Server == nil || i.VirtualHost == nil {
		return nil
	}
	for _, r := range i.VirtualHost.Routes {
		m := &r.match
		switch {
		case !m.path.match(method):
			continue
		case !r.inbound || len(m.headers) > 0 || m.sampled:
			return nil
		default:
			return r
		}
	}
	return nil
}
