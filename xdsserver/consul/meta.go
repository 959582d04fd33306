package consul

import "strings"

// What xdsserver writes into the metadata of a service that it registers in Consul, so
// that the registration is known for what it is. Nothing without Owner is ever changed.
const (
	// MetaOwner is the replica that registered it.
	MetaOwner = "tulle-owner"
	// MetaService is the mesh's own name of the service, "name" or "name.namespace", and
	// MetaInstance its instance.
	MetaService  = "tulle-service"
	MetaInstance = "tulle-instance"
	// MetaVersion, MetaRegion and MetaZone are read of any service, too.
	MetaVersion = "version"
	MetaRegion  = "region"
	MetaZone    = "zone"
)

// CatalogName is how a service of the mesh, "name" or "name.namespace", is called in
// Consul's catalog, where a name is one DNS label: "name" or "name--namespace".
func CatalogName(service string) string {
	name, namespace, found := strings.Cut(service, ".")
	if !found {
		return name
	}
	return name + "--" + namespace
}
