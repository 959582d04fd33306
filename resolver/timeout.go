package resolver

import (
	"fmt"
	"time"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// serviceConfigOf names the mesh's balancer, and the timeout that all calls have
// in common, zero for none. Everything else that grpc's service config says per
// method, routes say per call.
func serviceConfigOf(timeout time.Duration) string {
	const balancer = `"loadBalancingConfig":[{"tulle":{}}]`
	if timeout <= 0 {
		return "{" + balancer + "}"
	}
	return fmt.Sprintf(`{%s,"methodConfig":[{"name":[{}],"timeout":"%d.%09ds"}]}`, balancer, timeout/time.Second, timeout%time.Second)
}

// commonTimeout is what a Config's CommonTimeout must be.
func commonTimeout(c *resource.Config) time.Duration {
	var common time.Duration
	for i, r := range c.VirtualHost.Routes {
		timeout := c.Timeout(r)
		if i == 0 {
			common = timeout
		}
		if timeout <= 0 || timeout != common || !keepsTime(c.Traffic(r), timeout) {
			return 0
		}
	}
	return common
}

// keepsTime is whether grpc can bound the calls of a route. It bounds each attempt
// anew: one that comes after another is rare, and the interceptor gives it what is
// left. A deadline of the interceptor's for each call, so as not to do that, would cost
// each four allocations; attempts that run beside each other need one. What a hop costs
// is no matter: it goes off the caller's deadline, and the sooner one wins.
func keepsTime(t *resource.Traffic, timeout time.Duration) bool {
	for i := range t.Mirrors {
		if t.Mirrors[i].Timeout > timeout {
			return false // a copy is a call of the same connection
		}
	}
	return t.Hedge == nil
}

// give hands a Config to the connections that do not have it yet. Until calls
// are routed by it, and bounded by the interceptor where their timeouts differ,
// grpc goes on bounding those that are routed by the one before.
func (b *Builder) give(t *target, config *resource.Config, conns []*conn) {
	generation := b.generation.Load()
	for _, c := range conns {
		if c.given == config && c.generation == generation {
			continue
		}
		c.given, c.generation = config, generation
		timeout := config.CommonTimeout
		if timeout == 0 {
			timeout = c.timeout
		}
		b.update(t, c, timeout)
	}
}

// settle ends what give went on with, once calls are routed by the Config.
func (b *Builder) settle(t *target, conns []*conn) {
	for _, c := range conns {
		if c.given != nil && c.timeout != c.given.CommonTimeout {
			b.update(t, c, c.given.CommonTimeout)
		}
	}
}

// update gives a connection its Config with a timeout for all calls.
func (b *Builder) update(t *target, c *conn, timeout time.Duration) {
	if c.timeout != timeout {
		c.timeout = timeout
		c.serviceConfig = c.cc.ParseServiceConfig(serviceConfigOf(timeout))
	}
	state := stateOf(c.given, b.attrs, c.generation)
	state.ServiceConfig = c.serviceConfig
	if err := c.cc.UpdateState(state); err != nil {
		// The balancer says the same to each call that it cannot place.
		b.logger.Debug("balancer refused a configuration", "service", t.service, "revision", c.given.Revision, "error", err)
	}
}
