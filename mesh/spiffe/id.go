package spiffe

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// DefaultNamespace is the namespace of services that name none.
const DefaultNamespace = "default"

// serverPath is the path of xdsserver's own identity, serverService the service that it
// is where Consul signs.
const (
	serverPath    = "/xdsserver"
	serverService = "xdsserver"
)

// maxID bounds an ID, in bytes (SPIFFE-ID standard, section 2.3).
const maxID = 2048

// CheckTrustDomain reports why name is no trust domain: lower-case letters,
// digits, '.', '-' and '_', 1 to 255 of them.
func CheckTrustDomain(name string) error {
	if _, err := trustDomain(name); err != nil {
		return fmt.Errorf("trust domain %.80q: %w", name, err)
	}
	return nil
}

func trustDomain(name string) (spiffeid.TrustDomain, error) {
	// go-spiffe takes a whole ID, too, and its trust domain.
	if strings.ContainsAny(name, "/:") {
		return spiffeid.TrustDomain{}, errors.New("want a name as in example.org, without scheme and path")
	}
	if len(name) > 255 {
		return spiffeid.TrustDomain{}, errors.New("is longer than 255 characters")
	}
	return spiffeid.TrustDomainFromString(name)
}

// ServiceID returns the identity of a service, "name" or "name.namespace", which
// must be one that resolver.ServiceName accepts.
func ServiceID(trustDomain, service string) string {
	name, namespace, found := strings.Cut(service, ".")
	if !found {
		namespace = DefaultNamespace
	}
	return "spiffe://" + trustDomain + "/ns/" + namespace + "/svc/" + name
}

// ServerID returns the identity of a trust domain's xdsservers.
func ServerID(trustDomain string) string { return "spiffe://" + trustDomain + serverPath }

// A Domain is where the identities of a mesh are, and how they are written. It is
// comparable.
type Domain struct {
	// Name is the trust domain, as in "example.org".
	Name string
	// Datacenter is that of a Consul whose authority signs: identities are written as
	// Consul does then, spiffe://NAME/ns/NAMESPACE/dc/DATACENTER/svc/SERVICE. Empty for
	// the mesh's own form.
	Datacenter string
}

// ServiceID is [ServiceID] in the domain's form.
func (d Domain) ServiceID(service string) string {
	if d.Datacenter == "" {
		return ServiceID(d.Name, service)
	}
	name, namespace, found := strings.Cut(service, ".")
	if !found {
		namespace = DefaultNamespace
	}
	return "spiffe://" + d.Name + "/ns/" + namespace + "/dc/" + d.Datacenter + "/svc/" + name
}

// ServerID is [ServerID] in the domain's form. Consul signs for services only, so that
// xdsserver is the service of that name there: who may write it in Consul's ACLs could
// be xdsserver.
func (d Domain) ServerID() string {
	if d.Datacenter == "" {
		return ServerID(d.Name)
	}
	return d.ServiceID(serverService)
}

// An ID is an identity taken apart. It is comparable.
type ID struct {
	TrustDomain string
	// Service is the canonical name, "name" or "name.namespace" outside the
	// namespace default; empty for an identity that is no service of a mesh.
	Service string
	// Datacenter is that of an identity in Consul's form; empty in the mesh's own.
	Datacenter string
	// Path begins with '/'; it is empty for a trust domain's own identity.
	Path string
}

// Domain returns where the identity is.
func (id ID) Domain() Domain { return Domain{Name: id.TrustDomain, Datacenter: id.Datacenter} }

// ParseID takes an identity apart. It accepts what the SPIFFE-ID standard does
// and nothing else: no escapes, no upper-case trust domain, no empty segment.
func ParseID(id string) (ID, error) {
	if len(id) > maxID {
		return ID{}, fmt.Errorf("spiffe id %.80q...: is longer than %d bytes", id, maxID)
	}
	parsed, err := spiffeid.FromString(id)
	if err != nil {
		return ID{}, fmt.Errorf("spiffe id %.200q: %w", id, err)
	}
	return idOf(parsed), nil
}

func idOf(id spiffeid.ID) ID {
	service, datacenter := serviceOf(id.Path())
	if datacenter != "" && service == serverService {
		service = "" // no service can be xdsserver
	}
	return ID{TrustDomain: id.TrustDomain().Name(), Service: service, Datacenter: datacenter, Path: id.Path()}
}

// String returns the identity as a URI.
func (id ID) String() string { return "spiffe://" + id.TrustDomain + id.Path }

// Namespace returns the namespace of the service; empty where there is none.
func (id ID) Namespace() string {
	_, namespace, found := strings.Cut(id.Service, ".")
	switch {
	case id.Service == "":
		return ""
	case found:
		return namespace
	}
	return DefaultNamespace
}

// IsServer reports whether it is the identity of an xdsserver.
func (id ID) IsServer() bool {
	return id.Path == serverPath || id.Datacenter != "" && id.String() == id.Domain().ServerID()
}

// serviceOf returns the canonical name of the service at path, and its datacenter where
// the path is of Consul's form; both empty for a path of another form.
func serviceOf(path string) (service, datacenter string) {
	rest, ok := strings.CutPrefix(path, "/ns/")
	if !ok {
		return "", ""
	}
	namespace, rest, ok := strings.Cut(rest, "/")
	if !ok || !label(namespace) {
		return "", ""
	}
	if below, ok := strings.CutPrefix(rest, "dc/"); ok {
		if datacenter, rest, ok = strings.Cut(below, "/"); !ok || !label(datacenter) {
			return "", ""
		}
	}
	name, ok := strings.CutPrefix(rest, "svc/")
	if !ok || !label(name) {
		return "", ""
	}
	if namespace == DefaultNamespace {
		return name, datacenter
	}
	return name + "." + namespace, datacenter
}

// label reports whether s is a DNS label (RFC 1123), as the parts of a service's
// name are.
func label(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
