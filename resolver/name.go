package resolver

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// Scheme is the scheme of the mesh's targets, as in mesh:///voting.
const Scheme = "mesh"

// defaultNamespace is where a service is that names no namespace.
const defaultNamespace = "default"

// ServiceName returns the canonical name of the service that name names: "name",
// or "name.namespace" outside the namespace "default". Both parts are DNS labels
// (RFC 1123): 1 to 63 of a-z, 0-9 and '-', with no '-' at either end.
func ServiceName(name string) (string, error) {
	service, namespace, found := strings.Cut(name, ".")
	if err := checkLabel(service); err != nil {
		return "", fmt.Errorf("service %.80q: name %w", name, err)
	}
	if !found {
		return service, nil
	}
	if strings.Contains(namespace, ".") {
		return "", fmt.Errorf("service %.80q: more than one '.': a service is named name or name.namespace", name)
	}
	if err := checkLabel(namespace); err != nil {
		return "", fmt.Errorf("service %.80q: namespace %w", name, err)
	}
	if namespace == defaultNamespace {
		return service, nil
	}
	return name, nil
}

// checkLabel reports why s is no DNS label.
func checkLabel(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > 63:
		return errors.New("is longer than 63 characters")
	case s[0] == '-' || s[len(s)-1] == '-':
		return errors.New("begins or ends with '-'")
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return fmt.Errorf("may hold only a-z, 0-9 and '-', not %q", r)
		}
	}
	return nil
}

// serviceOf returns the canonical name of the service that a target of the mesh
// names.
func serviceOf(target resolver.Target) (string, *call.Error) {
	if host := target.URL.Host; host != "" {
		return "", badTarget(target, fmt.Errorf("%q stands where an authority would, and a mesh has none: write three slashes", host))
	}
	if target.URL.RawQuery != "" || target.URL.Fragment != "" {
		return "", badTarget(target, errors.New("nothing may follow the service's name"))
	}
	endpoint := target.Endpoint()
	if endpoint == "" {
		return "", badTarget(target, errors.New("it names no service"))
	}
	service, err := ServiceName(endpoint)
	if err != nil {
		return "", badTarget(target, err)
	}
	return service, nil
}

// badTarget is INTERNAL: it is a mistake in the program that no waiting and no
// retry heals, and gRFC A54 keeps INVALID_ARGUMENT for the service's own use.
func badTarget(target resolver.Target, cause error) *call.Error {
	return &call.Error{
		Service: target.Endpoint(),
		Reason:  call.BadTarget,
		Code:    codes.Internal,
		Detail:  fmt.Sprintf("target %.120q", target.URL.String()),
		Try:     "mesh:///name or mesh:///name.namespace",
		Cause:   cause,
	}
}
