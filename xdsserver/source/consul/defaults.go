package consul

import (
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// defaults is what service-defaults say of a service itself.
func (c *serviceCompiler) defaults(e *api.ServiceConfigEntry) {
	if e.LocalRequestTimeoutMs > 0 {
		c.say(e, "LocalRequestTimeoutMs", func(s *model.Service) {
			s.Timeout = milliseconds(e.LocalRequestTimeoutMs)
		})
	}
	switch e.MutualTLSMode {
	case api.MutualTLSModeDefault:
	case api.MutualTLSModeStrict:
		c.say(e, "MutualTLSMode", func(s *model.Service) { s.Strict = true })
	default:
		c.warn(e, "MutualTLSMode", "is not honoured: what is permitted has an end in the mesh, so write spec.mtls of a Service, with a day")
	}
	if e.RateLimits != nil && len(e.RateLimits.InstanceLevel.Routes) == 0 {
		c.limit(e, e.RateLimits.InstanceLevel)
	}
	switch {
	case e.Destination != nil:
		c.outside(e, "Destination")
	case e.ExternalSNI != "":
		c.outside(e, "ExternalSNI")
	}
}

// milliseconds is a duration, and one that is too long where it would be more than a
// duration holds.
func milliseconds(n int) time.Duration {
	const most = int(1<<63-1) / int(time.Millisecond)
	return time.Duration(min(n, most)) * time.Millisecond
}

// limit is what each instance takes.
func (c *serviceCompiler) limit(e api.ConfigEntry, l api.InstanceLevelRateLimits) {
	if l.RequestsPerSecond <= 0 {
		return
	}
	burst := l.RequestsMaxBurst
	if burst <= 0 {
		burst = l.RequestsPerSecond
	}
	const most = 1 << 31 // which is out of range, and told of
	c.say(e, "RateLimits.InstanceLevel", func(s *model.Service) {
		s.Admission = &model.Admission{RateLimits: []model.RateLimit{{
			Name: "consul", Rate: model.Rate{PerSecond: float64(l.RequestsPerSecond), Burst: uint32(min(burst, most))},
		}}}
	})
}

// outside tells of a service that is outside of the mesh.
func (c *serviceCompiler) outside(e api.ConfigEntry, field string) {
	c.problems = append(c.problems, problemOf(e, field, "is not honoured: "+outside, false))
}
