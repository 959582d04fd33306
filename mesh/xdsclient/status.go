package xdsclient

import (
	"cmp"
	"errors"
	"slices"
	"time"
)

// A Status is how a [Client] stands at one moment.
type Status struct {
	// Connected is true while a server answers on the stream.
	Connected bool
	// Server is the target in use, or last in use, as in Config.Servers.
	Server string
	// Since is when Connected became what it is.
	Since time.Time
	// StaleSince is when configuration in use was last confirmed by a server,
	// which may be before the process began; zero while all of it is current.
	StaleSince time.Time
	// LastErr is why the last stream or attempt to connect failed; nil while
	// connected.
	LastErr error
	// Nacks are how many responses were refused, for one of their resources at least,
	// since the process began.
	Nacks uint64
	// Resources are all those subscribed to, sorted by type and name.
	Resources []ResourceStatus
}

// A ResourceStatus is how one resource stands.
type ResourceStatus struct {
	// Type is the type URL.
	Type, Name string
	// Version is that of the value in use; empty when there is none.
	Version string
	State   ResourceState
	// Stale is as in [State].
	Stale bool
	// Err is what is wrong with the resource, whether a value is in use or not.
	Err error
}

// A ResourceState is what became of a resource that was asked for, in the words
// of xDS (envoy.admin.v3.ClientResourceStatus, gRFC A40).
type ResourceState string

// The states of a resource.
const (
	// Requested: nothing has answered yet.
	Requested ResourceState = "requested"
	// Acked: the newest the server sent is in use.
	Acked ResourceState = "acked"
	// Nacked: the newest the server sent was refused; an older may be in use.
	Nacked ResourceState = "nacked"
	// DoesNotExist: the server has it not, or no more; an older may be in use.
	DoesNotExist ResourceState = "does_not_exist"
	// ReceivedError: the server reported an error in its place.
	ReceivedError ResourceState = "received_error"
	// Timeout: no server has answered in time, or none can be reached.
	Timeout ResourceState = "timeout"
)

// Status returns how the client stands. It costs time in proportion to the
// resources: it is for people and their tools, not for each call.
func (c *Client) Status() Status {
	s := Status{Server: c.servers.targets[c.servers.inUse()], Nacks: c.nacks.Load()}
	c.mu.Lock()
	s.Connected = c.live()
	s.Since = c.since
	s.LastErr = c.lastErr
	if c.stale > 0 {
		s.StaleSince = c.staleSince
	}
	for _, table := range c.tables {
		for _, r := range table {
			if len(r.subs) > 0 {
				s.Resources = append(s.Resources, c.resourceStatus(r))
			}
		}
	}
	c.mu.Unlock()
	slices.SortFunc(s.Resources, func(a, b ResourceStatus) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
	})
	return s
}

func (c *Client) resourceStatus(r *resource) ResourceStatus {
	st := r.state.Load()
	err := cmp.Or(st.Err, st.Ambient)
	return ResourceStatus{
		Type:    c.types[r.typ].URL,
		Name:    r.name,
		Version: st.Version,
		State:   stateOf(st, err),
		Stale:   st.Stale,
		Err:     err,
	}
}

func stateOf(st *State, err error) ResourceState {
	var (
		notFound    *NotFoundError
		rejected    *RejectedError
		server      *ServerError
		unavailable *UnavailableError
	)
	switch {
	case errors.As(err, &rejected):
		return Nacked
	case errors.As(err, &notFound):
		return DoesNotExist
	case errors.As(err, &server):
		return ReceivedError
	case errors.As(err, &unavailable):
		return Timeout
	case !st.Known:
		return Requested
	}
	return Acked
}
