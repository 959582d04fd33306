package resource

// Endpoints are the endpoints of one cluster.
type Endpoints struct {
	Name string
	// Localities in order of priority, 0 the preferred; priorities are
	// contiguous, localities without weight are left out (gRFC A27).
	Localities []Locality
	Drops      []Drop
}

// ResourceName implements [Resource].
func (e *Endpoints) ResourceName() string { return e.Name }

// A Locality is a group of endpoints in one place.
type Locality struct {
	Region, Zone, SubZone string
	Priority              uint32
	// Weight is the locality's share among those of its priority, above zero.
	Weight    uint32
	Endpoints []Endpoint
}

// An Endpoint is one instance that takes calls: unhealthy and draining ones are left out.
type Endpoint struct {
	// Addresses are host:port, the preferred first; at least one (gRFC A61).
	Addresses []string
	// Weight is the endpoint's share in its locality, above zero.
	Weight uint32
	// Instance and Version come from the metadata under "tulle"; may be empty.
	Instance, Version string
}

// A Drop is a share of calls that is refused before an endpoint is picked.
type Drop struct {
	Category string
	// PerMillion is 0 to 1,000,000.
	PerMillion uint32
}
