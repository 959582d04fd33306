package mesh

import (
	"slices"
	"strconv"
	"time"

	"github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/mesh/breaker"
	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// maxEndpoints bounds the endpoints whose state is reported; calls to the others are
// counted as ever.
const maxEndpoints = 1000

// Telemetry returns the instruments that the process's calls are counted by, for a bridge
// to an OpenTelemetry MeterProvider (package mesh/telemetry/otel) or to a Prometheus
// registry (package mesh/telemetry/prometheus). They are reported to xdsserver by
// themselves until Close.
func (m *Mesh) Telemetry() *telemetry.Instruments { return m.telemetry }

// samples yields how the membership stands.
func (m *Mesh) samples(yield func(telemetry.Sample)) {
	if id := m.source.Current(); id != nil {
		yield(telemetry.Sample{Name: "tulle.identity.expiry", Value: float64(id.NotAfter.Unix())})
	}
	control, stale := m.xds.Status(), 0.0
	if !control.StaleSince.IsZero() {
		stale = max(time.Since(control.StaleSince).Seconds(), 1e-3) // zero is current
	}
	yield(telemetry.Sample{Name: "tulle.control.stale", Value: stale})
	yield(telemetry.Sample{Name: "tulle.control.nacks", Sum: true, Value: float64(control.Nacks)})
	for _, side := range [...]struct {
		name string
		n    int64
	}{{"client", m.dialed.Load()}, {"server", m.accepted.Load()}} {
		yield(telemetry.Sample{
			Name: "tulle.connections", Value: float64(side.n),
			Attributes: []telemetry.Attribute{{Key: "tulle.side", Value: side.name}},
		})
	}
	m.upstreamSamples(yield)
}

// upstreamSamples yields how the endpoints stand that the process calls.
func (m *Mesh) upstreamSamples(yield func(telemetry.Sample)) {
	for _, c := range m.shared.Counts() {
		attributes := []telemetry.Attribute{{Key: "tulle.destination", Value: c.Service}, {Key: "tulle.cluster", Value: c.Cluster}}
		if c.Ejections > 0 {
			yield(telemetry.Sample{Name: "tulle.client.ejections", Sum: true, Value: float64(c.Ejections), Attributes: attributes})
		}
		if c.Openings > 0 {
			yield(telemetry.Sample{Name: "tulle.client.breaker.opened", Sum: true, Value: float64(c.Openings), Attributes: attributes})
		}
	}
	room := maxEndpoints
	for _, u := range m.shared.Status() {
		for i := range u.Endpoints {
			if room--; room < 0 {
				return
			}
			endpointSamples(&u, &u.Endpoints[i], yield)
		}
	}
}

func endpointSamples(u *balancer.UpstreamStatus, e *balancer.Status, yield func(telemetry.Sample)) {
	attributes := []telemetry.Attribute{
		{Key: "tulle.destination", Value: u.Service},
		{Key: "tulle.cluster", Value: u.Cluster},
		{Key: "tulle.endpoint", Value: e.Address},
		{Key: "tulle.local", Value: strconv.FormatBool(e.Local)},
	}
	gauge := func(name string, value float64, more ...telemetry.Attribute) {
		yield(telemetry.Sample{Name: "tulle.client.endpoint." + name, Value: value, Attributes: append(slices.Clip(attributes), more...)})
	}
	gauge("latency", e.Cost.Seconds(), telemetry.Attribute{Key: "tulle.guess", Value: strconv.FormatBool(e.Guess)})
	gauge("open", float64(e.Open))
	gauge("breaker", breakerValue(e.Breaker))
	gauge("ejected", truth(e.Ejected))
	gauge("in_use", truth(e.InUse))
}

func breakerValue(s breaker.State) float64 {
	switch s {
	case breaker.Open:
		return 2
	case breaker.HalfOpen:
		return 1
	default:
		return 0
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
