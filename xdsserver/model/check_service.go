package model

import (
	"fmt"
	"net/netip"
	"strings"
)

// CheckService returns what is wrong with a Service by itself.
func CheckService(s *Service) []Problem {
	c := &checker{ref: s.Ref(), from: s.From}
	c.service(s)
	return c.problems
}

func (c *checker) service(s *Service) {
	c.name("metadata", s.Name)
	c.duration("spec.timeout", s.Timeout)
	c.traffic(s)
	c.until(s.PermissiveUntil)
	if s.Strict && !s.PermissiveUntil.IsZero() {
		c.errorf("spec.mtls", "is strict and permissive at once: write one of them")
	}
	addresses, instances := make(map[string]int, len(s.Endpoints)), make(map[string]int, len(s.Endpoints))
	for i, e := range s.Endpoints {
		n := len(c.problems)
		c.endpoint(e)
		for _, a := range e.Addresses {
			if j, ok := addresses[a]; ok {
				c.errorf(".address", "%s is written twice, in endpoints[%d] and endpoints[%d]: keep one", a, j, i)
			}
			addresses[a] = i
		}
		id := instance(e)
		if j, ok := instances[id]; ok && id != "" {
			c.errorf(".instance", "instance %s is written twice, in endpoints[%d] and endpoints[%d]: instances of one service need "+
				"different names",
				id, j, i)
		}
		instances[id] = i
		if e.Weight > 1 && e.Weight <= maxEndpointWeight && !s.LoadBalancing.weighs() {
			c.warnf(".weight", "is not looked at by %s: it counts toward the share of the endpoint's zone for stock clients only; "+
				"peak-ewma and ring-hash go by it", s.LoadBalancing.Policy)
		}
		if len(c.problems) > n {
			c.under(n, fmt.Sprintf("spec.endpoints[%d]", i))
		}
	}
}

// instance is the endpoint's instance; a static endpoint without one goes by its address.
func instance(e Endpoint) string {
	if e.Instance == "" && len(e.Addresses) > 0 {
		return e.Addresses[0]
	}
	return e.Instance
}

// endpoint checks what holds for static and registered endpoints alike.
func (c *checker) endpoint(e Endpoint) {
	if len(e.Addresses) == 0 {
		c.errorf("", "has no address: write address: \"10.0.0.7:8080\"")
	}
	c.count(".addresses", len(e.Addresses), maxAddresses)
	for _, a := range e.Addresses {
		if err := CheckAddress(a); err != nil {
			c.errorf(".address", "%v", err)
		}
	}
	if e.Version != "" {
		if err := CheckVersion(e.Version); err != nil {
			c.errorf(".version", "%v", err)
		}
	}
	c.text(".instance", e.Instance)
	c.text(".zone", e.Zone)
	c.text(".region", e.Region)
	if region, zone, ok := strings.Cut(e.Zone, "/"); ok {
		// A process says both in one, TULLE_ZONE=region/zone, and has them apart from then on.
		c.errorf(".zone", "%q holds a slash, and would match no process's zone: write region: %s and zone: %s", e.Zone, region, zone)
	}
	if e.Weight > maxEndpointWeight {
		c.errorf(".weight", "%d is above %d, the most: weights are shares, divide them all", e.Weight, maxEndpointWeight)
	}
}

// CheckAddress reports why clients cannot dial s: it must be an IP address and a
// port, "10.0.0.7:8080" or "[2001:db8::7]:8080", in their shortest form. Host
// names are refused, since xDS clients dial what an endpoint says as it stands
// and resolve nothing.
func CheckAddress(s string) error {
	ap, err := netip.ParseAddrPort(s)
	switch {
	case err != nil:
		return fmt.Errorf("address %.80q is not an IP address and a port, as in 10.0.0.7:8080 (host names are not resolved)", s)
	case ap.Port() == 0:
		return fmt.Errorf("address %q has port 0: write the port that the service listens on", s)
	case ap.Addr().IsUnspecified():
		return fmt.Errorf("address %q is the wildcard, which nobody can dial: write the address others reach the service at", s)
	case ap.Addr().IsMulticast():
		return fmt.Errorf("address %q is a multicast address, which nobody can dial", s)
	case ap.Addr().Zone() != "":
		return fmt.Errorf("address %q has an interface zone, which means something else on every host: write an address without one", s)
	case ap.String() != s:
		return fmt.Errorf("address %q is not in its shortest form: write %q", s, ap)
	}
	return nil
}
