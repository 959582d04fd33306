package daemon

import (
	"fmt"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	consulsource "github.com/tulle-mesh/tulle/xdsserver/source/consul"
)

// openConsul connects to Consul, where there is one. Consul may be away: what is known
// of it is served until it is back.
func (d *Daemon) openConsul(c Config) (err error) {
	if c.Consul == nil {
		return nil
	}
	if d.replica, err = replica(c.Data); err != nil {
		return fmt.Errorf("replica: %w", err)
	}
	config := *c.Consul
	config.Logger = c.Logger
	if d.consul, err = consul.New(config); err != nil {
		return &ConfigError{Flag: "--consul", Reason: err.Error()}
	}
	d.catalog = consulsource.New(consulsource.Config{Client: d.consul, Self: d.replica, Tag: c.ConsulTag, Logger: c.Logger})
	return nil
}
