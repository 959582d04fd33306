package mesh

import (
	"context"
	"time"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/resolver"
)

// patience is how long a server may be without a policy before it is said so.
const patience = 10 * time.Second

// An inbound is what the servers of a process have in common. A process that only
// calls has none.
type inbound struct {
	policy *resolver.Inbound
	server *interceptors.Server
}

// inbound returns what servers need, which runs from the first time on.
func (m *Mesh) inbound() *inbound {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.serving != nil {
		return m.serving
	}
	policy := resolver.NewInbound(m.xds, m.config.service(), m.logger)
	m.serving = &inbound{
		policy: policy,
		server: interceptors.NewServer(interceptors.ServerConfig{
			Service:  m.config.service(),
			Policies: policy,
			Logger:   m.logger,

			Telemetry: m.telemetry,
			Tracer:    m.tracer,
			Log:       m.lines,
			Taps:      m.taps,
		}),
	}
	if m.closed {
		return m.serving // its calls fail: nobody tells it what to allow
	}
	server := m.serving.server
	m.group.Go(func() error { return policy.Run(m.life) })
	m.group.Go(func() error { return server.Run(m.life) })
	return m.serving
}

// permissiveUntil is until when callers without TLS are let in; zero is never.
func (in *inbound) permissiveUntil() time.Time {
	if current := in.policy.Current(); current != nil {
		return current.Listener.Server.PermissiveUntil
	}
	return time.Time{}
}

// await waits for the first policy, and says so when that takes long. It returns
// false when ctx ends first, or nothing will come any more.
func (in *inbound) await(ctx context.Context, m *Mesh, address string) bool {
	short, cancel := context.WithTimeout(ctx, patience)
	err := in.policy.Wait(short)
	cancel()
	if err == nil || ctx.Err() != nil {
		return err == nil
	}
	m.logger.Warn("endpoint takes no calls yet", "service", m.config.service(), "address", address, "error", err)
	return in.policy.Wait(ctx) == nil
}
