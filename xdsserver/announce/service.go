package announce

import (
	"errors"
	"maps"
	"net/netip"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

const (
	// idPrefix is what the ids of all our registrations begin with.
	idPrefix = "tulle/"
	// maxMeta bounds a value of a service's metadata in Consul, in bytes.
	maxMeta = 512
)

// A service is a registration in Consul.
type service struct {
	id, name, address string
	port, weight      int
	meta              map[string]string
	// serving is whether it takes calls; it is its check's, not the registration's.
	serving bool
}

// serviceOf is what Consul is told of an endpoint, at the first of its addresses.
func (a *Announcer) serviceOf(e model.Endpoint) (service, error) {
	if len(e.Addresses) == 0 {
		return service{}, errors.New("it has no address")
	}
	address, err := netip.ParseAddrPort(e.Addresses[0])
	if err != nil {
		return service{}, err
	}
	name := e.Service.String()
	s := service{
		id:      idPrefix + a.owner + "/" + name + "/" + e.Instance,
		name:    consul.CatalogName(name),
		address: address.Addr().String(),
		port:    int(address.Port()),
		weight:  int(max(1, e.Weight)),
		meta:    map[string]string{consul.MetaOwner: a.owner},
		serving: e.Health == model.Healthy || e.Health == model.Lost,
	}
	for key, value := range map[string]string{
		consul.MetaService: name, consul.MetaInstance: e.Instance,
		consul.MetaVersion: e.Version, consul.MetaRegion: e.Region, consul.MetaZone: e.Zone,
	} {
		if value != "" {
			s.meta[key] = cut(value)
		}
	}
	return s, nil
}

// cut keeps what Consul takes of a value.
func cut(value string) string {
	if len(value) <= maxMeta {
		return value
	}
	return strings.ToValidUTF8(value[:maxMeta], "")
}

// owned reports whether a registration is this xdsserver's, by its id and by its mark.
func (a *Announcer) owned(s *api.AgentService) bool {
	return strings.HasPrefix(s.ID, idPrefix+a.owner+"/") && s.Meta[consul.MetaOwner] == a.owner
}

// of is a registration as the agent has it.
func of(s *api.AgentService) service {
	return service{
		id: s.ID, name: s.Service, address: s.Address, port: s.Port, weight: s.Weights.Passing, meta: s.Meta,
	}
}

// same reports whether both are registered alike, whether they take calls or not.
func (s service) same(other service) bool {
	return s.name == other.name && s.address == other.address && s.port == other.port && s.weight == other.weight && maps.Equal(s.meta, other.meta)
}

func (s service) registration() *api.AgentServiceRegistration {
	status, note := s.status()
	return &api.AgentServiceRegistration{
		ID: s.id, Name: s.name, Address: s.address, Port: s.port, Meta: s.meta,
		Weights: &api.AgentWeights{Passing: s.weight, Warning: s.weight},
		Check: &api.AgentServiceCheck{
			CheckID: s.check(), Name: "known to xdsserver", TTL: ttl.String(), Status: status, Notes: note,
			DeregisterCriticalServiceAfter: "1m",
		},
	}
}

// check is the id of the service's check.
func (s service) check() string { return "service:" + s.id }

// status is that of the check, and what it says.
func (s service) status() (status, note string) {
	if s.serving {
		return api.HealthPassing, "registered with an xdsserver, and serving"
	}
	return api.HealthCritical, "registered with an xdsserver, and not serving (gRPC health)"
}
