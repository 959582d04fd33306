package resource

import (
	"strings"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// DecodeCluster decodes and validates the bytes of a Cluster message (gRFC A27,
// A32, A42, A48, A50, A52, A58). Its endpoints must come by EDS from the same
// server, and have one of the identities that its transport socket names (gRFC
// A29). The error is a *[DecodeError].
func DecodeCluster(value []byte) (*Cluster, error) {
	var m xdsv3.Cluster
	if err := unmarshal(value, &m); err != nil {
		return nil, refuse(ClusterType, "", err)
	}
	c, err := decodeCluster(&m)
	if err != nil {
		return nil, refuse(ClusterType, m.GetName(), err)
	}
	return c, nil
}

func decodeCluster(m *xdsv3.Cluster) (*Cluster, error) {
	c := &Cluster{Name: m.GetName(), EndpointsName: m.GetEdsClusterConfig().GetServiceName()}
	if c.Name == "" {
		return nil, bad("name", "is empty")
	}
	// Before the fields: an aggregate cluster's other fields are not its trouble.
	if custom := m.GetClusterType(); custom != nil {
		return nil, bad("cluster_type", "%q is not supported; use a cluster of type EDS", custom.GetName())
	}
	if m.GetType() != xdsv3.Cluster_EDS {
		return nil, bad("type", "%v is not supported; use EDS", m.GetType())
	}
	if err := known(m); err != nil {
		return nil, err
	}
	var err error
	if c.Balancing, err = decodeBalancing(m); err != nil {
		return nil, err
	}
	if lrs := m.GetLrsServer(); lrs != nil && lrs.GetSelf() == nil {
		return nil, bad("lrs_server", "must be self") // gRFC A27
	}

	eds := m.GetEdsClusterConfig()
	if err := known(eds); err != nil {
		return nil, under("eds_cluster_config", err)
	}
	if err := own(eds.GetEdsConfig()); err != nil {
		return nil, under("eds_cluster_config.eds_config", err)
	}
	if c.EndpointsName == "" {
		if strings.HasPrefix(c.Name, "xdstp:") {
			return nil, bad("eds_cluster_config.service_name", "is empty; a cluster with an xdstp name needs one (gRFC A47)")
		}
		c.EndpointsName = c.Name
	}

	if m.GetTransportSocket() != nil {
		if c.PeerIDs, err = decodeUpstreamTLS(m.GetTransportSocket()); err != nil {
			return nil, under("transport_socket", err)
		}
	}
	if c.MaxRequests, err = decodeMaxRequests(m.GetCircuitBreakers()); err != nil {
		return nil, under("circuit_breakers", err)
	}
	return c, nil
}

// decodeMaxRequests reads the first threshold of the default priority, the only
// one that calls have (gRFC A32).
func decodeMaxRequests(m *xdsv3.CircuitBreakers) (uint32, error) {
	if err := known(m); err != nil {
		return 0, err
	}
	for i, threshold := range m.GetThresholds() {
		if threshold.GetPriority() != xdsv3.RoutingPriority_DEFAULT {
			continue
		}
		if err := known(threshold); err != nil {
			return 0, at("thresholds", i, err)
		}
		if threshold.GetMaxRequests() == nil {
			break
		}
		return threshold.GetMaxRequests().GetValue(), nil
	}
	return DefaultMaxRequests, nil
}
