package mesh

import (
	"time"

	"github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/mesh/identity"
	"github.com/tulle-mesh/tulle/mesh/xdsclient"
)

// Status is how a membership stands at one moment.
type Status struct {
	// Service is the process's own service, Instance its name within it.
	Service, Instance string
	// Identity is who the process is, until when, and why it is nobody if it is.
	Identity identity.Status
	// Control is the connection to xdsserver and the configuration held from it.
	Control xdsclient.Status
	// Stale is true while calls are made by configuration that xdsserver does
	// not confirm: it is away, or the configuration came from the disk.
	Stale bool
	// StaleSince is when it was last confirmed; zero while it is not stale.
	StaleSince time.Time
	// Policy is the revision of the access policy that the process's servers enforce:
	// it grows with each. Zero is none, and no call is let in.
	Policy uint64
	// Registrations are the endpoints of this process.
	Registrations []RegistrationStatus
	// Upstreams are the clusters that the process calls, with their endpoints, in the
	// order of service and cluster.
	Upstreams []UpstreamStatus
}

// An UpstreamStatus is how one cluster of a service stands that the process calls.
type UpstreamStatus = balancer.UpstreamStatus

// An EndpointStatus is what the process knows of one endpoint that it calls.
type EndpointStatus = balancer.Status

// Status returns how the membership stands.
func (m *Mesh) Status() Status {
	control := m.xds.Status()
	s := Status{
		Service:    m.config.Service,
		Instance:   m.instance,
		Identity:   m.source.Status(),
		Control:    control,
		Stale:      !control.StaleSince.IsZero(),
		StaleSince: control.StaleSince,
		Upstreams:  m.shared.Status(),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.serving != nil {
		if in := m.serving.policy.Current(); in != nil {
			s.Policy = in.Revision
		}
	}
	for r := range m.registrations {
		s.Registrations = append(s.Registrations, r.Status())
	}
	return s
}
