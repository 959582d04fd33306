package resource

import "strings"

// CertificateProvider is the one certificate provider instance that resources
// name: a process's own identity, and the trust bundle it verifies peers against.
const CertificateProvider = "tulle"

// The access filters of a server's listener, which must have these names: the
// rules of routes that override them are found by name (gRFC A41).
const (
	// AccessDenyFilter is the name of the RBAC filter of action DENY.
	AccessDenyFilter = "tulle.access.deny"
	// AccessAllowFilter is the name of the RBAC filter of action ALLOW.
	AccessAllowFilter = "tulle.access.allow"
)

// Where the mesh's own policies stand in a route's typed_per_filter_config. Each is
// found by its type, and must have its name.
const (
	// TrafficFilter is the name of a client's [Traffic], the message
	// tulle.policy.v1.Traffic.
	TrafficFilter = "tulle.traffic"
	// AdmissionFilter is the name of a server's [Admission], the message
	// tulle.policy.v1.Admission.
	AdmissionFilter = "tulle.admission"
)

const serverPrefix = "tulle/server/"

// ServerListener returns the name of the Listener and of the RouteConfiguration
// of the servers of service. Listeners for stock xDS servers have the address
// they are for behind it, after a '/'.
func ServerListener(service string) string { return serverPrefix + service }

// Owner returns the one service that may see the resource called name; ok is
// false for a resource that everybody may see. What stands below the name of a
// server's Listener is that service's.
func Owner(name string) (service string, ok bool) {
	rest, ok := strings.CutPrefix(name, serverPrefix)
	if !ok {
		return "", false
	}
	service, _, _ = strings.Cut(rest, "/")
	return service, service != ""
}
