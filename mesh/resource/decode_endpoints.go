package resource

import (
	"cmp"
	"net"
	"slices"
	"strconv"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// metadataKey is where the mesh's own facts about an endpoint stand in its
// metadata.
const metadataKey = "tulle"

// DecodeEndpoints decodes and validates the bytes of a ClusterLoadAssignment
// message (gRFC A27). Localities without a weight, and endpoints that are
// neither HEALTHY nor of unknown health, are left out. The error is a
// *[DecodeError].
func DecodeEndpoints(value []byte) (*Endpoints, error) {
	var m xdsv3.ClusterLoadAssignment
	if err := unmarshal(value, &m); err != nil {
		return nil, refuse(EndpointsType, "", err)
	}
	e, err := decodeEndpoints(&m)
	if err != nil {
		return nil, refuse(EndpointsType, m.GetClusterName(), err)
	}
	return e, nil
}

func decodeEndpoints(m *xdsv3.ClusterLoadAssignment) (*Endpoints, error) {
	if m.GetClusterName() == "" {
		return nil, bad("cluster_name", "is empty")
	}
	if err := known(m); err != nil {
		return nil, err
	}
	e := &Endpoints{Name: m.GetClusterName()}
	var err error
	if e.Drops, err = decodeDrops(m.GetPolicy()); err != nil {
		return nil, under("policy", err)
	}
	a := assignment{addresses: map[string]bool{}, places: map[place]bool{}, weights: map[uint32]uint64{}}
	for i, l := range m.GetEndpoints() {
		locality, err := a.locality(l)
		if err != nil {
			return nil, at("endpoints", i, err)
		}
		if locality != nil {
			e.Localities = append(e.Localities, *locality)
		}
	}
	for p := range uint32(len(a.weights)) {
		if _, ok := a.weights[p]; !ok {
			return nil, bad("endpoints", "have no locality of priority %d, but of %d priorities; they must be contiguous from 0", p, len(a.weights))
		}
	}
	slices.SortStableFunc(e.Localities, func(a, b Locality) int { return cmp.Compare(a.Priority, b.Priority) })
	return e, nil
}

func decodeDrops(m *xdsv3.ClusterLoadAssignment_Policy) ([]Drop, error) {
	if err := known(m); err != nil {
		return nil, err
	}
	var drops []Drop
	for i, d := range m.GetDropOverloads() {
		share, _, err := perMillion(d.GetDropPercentage())
		if err != nil {
			return nil, at("drop_overloads", i, under("drop_percentage", err))
		}
		drops = append(drops, Drop{Category: d.GetCategory(), PerMillion: share})
	}
	return drops, nil
}

// place is a locality at a priority: the same one may stand at several.
type place struct {
	region, zone, subZone string
	priority              uint32
}

// assignment is what the localities of one ClusterLoadAssignment must agree on.
type assignment struct {
	addresses map[string]bool
	places    map[place]bool
	weights   map[uint32]uint64 // by priority
	endpoints int
}

// locality returns nil for one without a weight, which is left out unread.
func (a *assignment) locality(m *xdsv3.LocalityLbEndpoints) (*Locality, error) {
	if m.GetLocality() == nil {
		return nil, bad("locality", "is missing")
	}
	l := &Locality{
		Region:   m.GetLocality().GetRegion(),
		Zone:     m.GetLocality().GetZone(),
		SubZone:  m.GetLocality().GetSubZone(),
		Priority: m.GetPriority(),
		Weight:   m.GetLoadBalancingWeight().GetValue(),
	}
	if l.Weight == 0 {
		return nil, nil
	}
	if err := known(m); err != nil {
		return nil, err
	}
	if a.weights[l.Priority] += uint64(l.Weight); a.weights[l.Priority] > maxWeight {
		return nil, bad("load_balancing_weight", "makes the sum of priority %d exceed %d", l.Priority, maxWeight)
	}
	p := place{l.Region, l.Zone, l.SubZone, l.Priority}
	if a.places[p] {
		return nil, bad("locality", "is there twice at priority %d", l.Priority)
	}
	a.places[p] = true

	if a.endpoints += len(m.GetLbEndpoints()); a.endpoints > maxEndpoints {
		return nil, bad("lb_endpoints", "make more than %d endpoints", maxEndpoints)
	}
	var total uint64
	for i, lb := range m.GetLbEndpoints() {
		e, err := a.endpoint(lb)
		if err != nil {
			return nil, at("lb_endpoints", i, err)
		}
		if total += uint64(e.Weight); total > maxWeight {
			return nil, at("lb_endpoints", i, bad("load_balancing_weight", "makes the sum of the locality exceed %d", maxWeight))
		}
		if h := lb.GetHealthStatus(); h == xdsv3.HealthStatus_UNKNOWN || h == xdsv3.HealthStatus_HEALTHY {
			l.Endpoints = append(l.Endpoints, *e)
		}
	}
	return l, nil
}

func (a *assignment) endpoint(m *xdsv3.LbEndpoint) (*Endpoint, error) {
	if err := known(m); err != nil {
		return nil, err
	}
	e := &Endpoint{Weight: 1}
	if w := m.GetLoadBalancingWeight(); w != nil {
		if e.Weight = w.GetValue(); e.Weight == 0 {
			return nil, bad("load_balancing_weight", "is zero; leave it out for a weight of one")
		}
	}
	host := m.GetEndpoint()
	if err := known(host); err != nil {
		return nil, under("endpoint", err)
	}
	if n := 1 + len(host.GetAdditionalAddresses()); n > maxAddresses {
		return nil, bad("endpoint.additional_addresses", "make %d addresses, at most %d are accepted", n, maxAddresses)
	}
	if err := a.address(e, host.GetAddress()); err != nil {
		return nil, under("endpoint.address", err)
	}
	for i, additional := range host.GetAdditionalAddresses() {
		err := known(additional)
		if err == nil {
			err = under("address", a.address(e, additional.GetAddress()))
		}
		if err != nil {
			return nil, at("endpoint.additional_addresses", i, err)
		}
	}
	var err error
	e.Instance, e.Version, err = decodeOwnMetadata(m.GetMetadata())
	return e, under("metadata", err)
}

// address adds an address to e. Its host is an IP address or a name: grpc-go
// dials a name as it stands, and so does this client.
func (a *assignment) address(e *Endpoint, m *xdsv3.Address) error {
	if err := known(m); err != nil {
		return err
	}
	s := m.GetSocketAddress()
	if err := known(s); err != nil {
		return under("socket_address", err)
	}
	if s.GetProtocol() != xdsv3.SocketAddress_TCP {
		return bad("socket_address.protocol", "%v is not supported; use TCP", s.GetProtocol())
	}
	if s.GetAddress() == "" {
		return bad("socket_address.address", "is empty")
	}
	if p := s.GetPortValue(); p == 0 || p > 65535 {
		return bad("socket_address.port_value", "%d is no port", p)
	}
	hostPort := net.JoinHostPort(s.GetAddress(), strconv.FormatUint(uint64(s.GetPortValue()), 10))
	if a.addresses[hostPort] {
		return bad("", "%s is there twice", hostPort)
	}
	a.addresses[hostPort] = true
	e.Addresses = append(e.Addresses, hostPort)
	return nil
}

// decodeOwnMetadata reads what the mesh says about an endpoint beside its
// address. Either may be absent or empty.
func decodeOwnMetadata(m *xdsv3.Metadata) (instance, version string, err error) {
	own := m.GetFilterMetadata()[metadataKey].GetFields()
	if instance, err = text(own, "instance"); err != nil {
		return "", "", err
	}
	version, err = text(own, "version")
	return instance, version, err
}

func text(fields map[string]*xdsv3.Value, name string) (string, error) {
	v, ok := fields[name]
	if !ok {
		return "", nil
	}
	s, ok := v.GetKind().(*xdsv3.Value_StringValue)
	if !ok {
		return "", bad("filter_metadata."+metadataKey+"."+name, "is no string")
	}
	return s.StringValue, nil
}
