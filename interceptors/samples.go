package interceptors

import (
	"github.com/tulle-mesh/tulle/mesh/breaker"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// tripped counts the breakers of services that open.
func (c *Client) tripped(service string, from, to breaker.State) {
	if from == breaker.Closed && to == breaker.Open {
		c.upstreams.of(service).opened.Add(1)
	}
}

// samples yields what the instruments do not count themselves.
func (c *Client) samples(yield func(telemetry.Sample)) {
	for _, s := range c.Stats() {
		to := telemetry.Attribute{Key: "tulle.destination", Value: s.Service}
		count := func(name string, n uint64, more ...telemetry.Attribute) {
			yield(telemetry.Sample{Name: name, Sum: true, Value: float64(n), Attributes: append([]telemetry.Attribute{to}, more...)})
		}
		count("tulle.client.retries", s.Retries)
		count("tulle.client.hedges", s.Hedges)
		count("tulle.client.denied", s.Denied)
		if s.Openings > 0 { // those of single endpoints are the balancer's
			count("tulle.client.breaker.opened", s.Openings, telemetry.Attribute{Key: "tulle.cluster"})
		}
		for i := range call.Reasons {
			if n := s.Refused[call.ReasonAt(i)]; n > 0 {
				count("tulle.client.refused", n, telemetry.Attribute{Key: "tulle.reason", Value: string(call.ReasonAt(i))})
			}
		}
	}
	mirrored := c.Mirrored()
	for _, m := range [...]struct {
		outcome string
		n       uint64
	}{{"sent", mirrored.Sent}, {"failed", mirrored.Failed}, {"dropped", mirrored.Dropped}, {"skipped", mirrored.Skipped}} {
		if m.n > 0 {
			yield(telemetry.Sample{
				Name: "tulle.client.mirrored", Sum: true, Value: float64(m.n),
				Attributes: []telemetry.Attribute{{Key: "tulle.outcome", Value: m.outcome}},
			})
		}
	}
	yield(telemetry.Sample{
		Name: "tulle.streams", Value: float64(c.streams.Load()),
		Attributes: []telemetry.Attribute{{Key: "tulle.side", Value: "client"}},
	})
}

// samples yields what the instruments do not count themselves.
func (s *Server) samples(yield func(telemetry.Sample)) {
	s.ledger.Samples(yield)
	stats := s.Stats()
	for _, c := range [...]struct {
		name string
		n    uint64
	}{
		{"tulle.server.limited", stats.Limited},
		{"tulle.server.shed", stats.Shed},
		{"tulle.server.injected", stats.Injected},
		{"tulle.server.panics", stats.Panics},
	} {
		yield(telemetry.Sample{Name: c.name, Sum: true, Value: float64(c.n)})
	}
	yield(telemetry.Sample{
		Name: "tulle.streams", Value: float64(s.streams.count()),
		Attributes: []telemetry.Attribute{{Key: "tulle.side", Value: "server"}},
	})
}
