package model

import (
	"fmt"
	"strings"
)

// DefaultNamespace is the namespace of objects that name none.
const DefaultNamespace = "default"

// A ServiceName names a service in its namespace. Both are DNS labels (RFC 1123).
type ServiceName struct {
	// Namespace is never empty.
	Namespace, Name string
}

// ParseServiceName reads "name" or "name.namespace".
func ParseServiceName(s string) (ServiceName, error) {
	name, namespace, found := strings.Cut(s, ".")
	if !found {
		namespace = DefaultNamespace
	}
	n := ServiceName{Namespace: namespace, Name: name}
	for _, label := range []string{name, namespace} {
		if err := CheckLabel(label); err != nil {
			return ServiceName{}, fmt.Errorf("service name %q: %w", s, err)
		}
	}
	return n, nil
}

// String returns "name", or "name.namespace" outside the default namespace: the
// name of the service's Listener, and what follows mesh:/// in a target.
func (n ServiceName) String() string {
	if n.Namespace == DefaultNamespace {
		return n.Name
	}
	return n.Name + "." + n.Namespace
}

// Compare orders names by namespace, then by name.
func (n ServiceName) Compare(o ServiceName) int {
	if c := strings.Compare(n.Namespace, o.Namespace); c != 0 {
		return c
	}
	return strings.Compare(n.Name, o.Name)
}

// CheckLabel reports why s is no DNS label: 1 to 63 of a-z, 0-9 and '-', with no
// '-' at either end.
func CheckLabel(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("is empty")
	case len(s) > 63:
		return fmt.Errorf("%.20q... is longer than 63 characters", s)
	case s[0] == '-' || s[len(s)-1] == '-':
		return fmt.Errorf("%q begins or ends with '-'", s)
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return fmt.Errorf("%q may hold only a-z, 0-9 and '-', not %q", s, r)
		}
	}
	return nil
}
