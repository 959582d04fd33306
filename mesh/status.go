package mesh

import (
	"time"

	"github.com/tulle-mesh/tulle/mesh/xdsclient"
)

// Status is how a membership stands at one moment.
type Status struct {
	// Service is the process's own service, Instance its name within it.
	Service, Instance string
	// Control is the connection to xdsserver and the configuration held from it.
	Control xdsclient.Status
	// Stale is true while calls are made by configuration that xdsserver does
	// not confirm: it is away, or the configuration came from the disk.
	Stale bool
	// StaleSince is when it was last confirmed; zero while it is not stale.
	StaleSince time.Time
	// Registrations are the endpoints of this process.
	Registrations []RegistrationStatus
}

// Status returns how the membership stands.
func (m *Mesh) Status() Status {
	control := m.xds.Status()
	s := Status{
		Service:    m.config.Service,
		Instance:   m.instance,
		Control:    control,
		Stale:      !control.StaleSince.IsZero(),
		StaleSince: control.StaleSince,
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for r := range m.registrations {
		s.Registrations = append(s.Registrations, r.Status())
	}
	return s
}
