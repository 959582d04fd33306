package mesh

import "github.com/tulle-mesh/tulle/interceptors"

// Mute takes away all that sees calls, before the first of them.
func Mute(m *Mesh) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.telemetry, m.tracer, m.lines, m.taps = nil, nil, nil, nil
	m.client = interceptors.NewClient(interceptors.ClientConfig{Configs: m.builder})
}
