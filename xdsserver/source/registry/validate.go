package registry

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	registryv1 "github.com/tulle-mesh/tulle/mesh/api/registry/v1"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

const (
	maxAddresses = 8
	maxInstance  = 128
	maxLabel     = 63
	// maxWeight keeps the sum over 400,000 endpoints below what a client accepts
	// for one priority, 2^32-1 (gRFC A27).
	maxWeight = 10_000
)

// parse makes an endpoint of a request, Healthy, NotServing or Leaving. Its error
// is a status that names the field and says what to do.
func parse(req *registryv1.RegisterRequest) (model.Endpoint, error) {
	e, field, err := endpoint(req)
	if err != nil {
		return model.Endpoint{}, status.Errorf(codes.InvalidArgument, "registry: %s: %v", field, err)
	}
	return e, nil
}

// endpoint returns the field that is wrong beside the error.
func endpoint(req *registryv1.RegisterRequest) (e model.Endpoint, field string, err error) {
	e = model.Endpoint{
		Service:  model.ServiceName{Namespace: req.GetNamespace(), Name: req.GetService()},
		Instance: req.GetInstance(),
		Version:  req.GetVersion(),
		Region:   req.GetRegion(),
		Zone:     req.GetZone(),
		Weight:   req.GetWeight(),
		From:     model.Registered,
	}
	if e.Service.Namespace == "" {
		e.Service.Namespace = model.DefaultNamespace
	}
	if err := model.CheckLabel(e.Service.Name); err != nil {
		return e, "service", fmt.Errorf("%w: set it to the service's name", err)
	}
	if err := model.CheckLabel(e.Service.Namespace); err != nil {
		return e, "namespace", fmt.Errorf("%w: set it to the service's namespace, or leave it out", err)
	}
	if err := checkInstance(e.Instance); err != nil {
		return e, "instance", err
	}
	for _, label := range []struct{ field, value string }{
		{"version", e.Version},
		{"region", e.Region},
		{"zone", e.Zone},
	} {
		if err := checkLabel(label.value); err != nil {
			return e, label.field, err
		}
	}
	if n := len(req.GetAddresses()); n == 0 || n > maxAddresses {
		return e, "addresses", fmt.Errorf("%d are given: give 1 to %d of host:port", n, maxAddresses)
	}
	for i, a := range req.GetAddresses() {
		hostPort, err := parseAddress(a)
		if err == nil && slices.Contains(e.Addresses, hostPort) {
			err = fmt.Errorf("%q is given twice: give each once", hostPort)
		}
		if err != nil {
			return e, fmt.Sprintf("addresses[%d]", i), err
		}
		e.Addresses = append(e.Addresses, hostPort)
	}
	if e.Weight > maxWeight {
		return e, "weight", fmt.Errorf("%d is above %d: weights are shares, divide them all", e.Weight, maxWeight)
	}
	switch req.GetState() {
	case registryv1.State_STATE_SERVING:
		e.Health = model.Healthy
	case registryv1.State_STATE_NOT_SERVING:
		e.Health = model.NotServing
	case registryv1.State_STATE_LEAVING:
		e.Health = model.Leaving
	default:
		return e, "state", fmt.Errorf("%v says nothing here: set STATE_SERVING, STATE_NOT_SERVING or STATE_LEAVING", req.GetState())
	}
	return e, "", nil
}

// parseAddress returns host:port in its one canonical form. A name is refused: a
// stock client dials what it is given as it is, and this process may resolve it to
// another machine than the caller means.
func parseAddress(s string) (string, error) {
	const want = "give an IP address and port that clients can dial, such as 10.0.0.7:8080"
	if len(s) > 64 {
		return "", fmt.Errorf("%.20q... is too long: %s", s, want)
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return "", fmt.Errorf("%q is no IP:port: %s", s, want)
	}
	ip := ap.Addr().Unmap()
	switch {
	case ip.IsUnspecified():
		return "", fmt.Errorf("%q is a wildcard, which nobody can dial: %s", s, want)
	case ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{math.MaxUint8, math.MaxUint8, math.MaxUint8, math.MaxUint8}):
		return "", fmt.Errorf("%q is not the address of one machine: %s", s, want)
	case ip.Zone() != "":
		return "", fmt.Errorf("%q has a zone, which means nothing to other machines: %s", s, want)
	case ap.Port() == 0:
		return "", fmt.Errorf("%q has port 0: %s", s, want)
	}
	return netip.AddrPortFrom(ip, ap.Port()).String(), nil
}

// checkInstance allows what names pods, machines and processes.
func checkInstance(s string) error {
	if s == "" {
		return errors.New("is empty: set it to an id of this process, the same after a reconnect")
	}
	if len(s) > maxInstance {
		return fmt.Errorf("%.20q... is longer than %d characters: shorten it", s, maxInstance)
	}
	for _, r := range s {
		if !alphanumeric(r) && !strings.ContainsRune("-_.:@", r) {
			return fmt.Errorf("%q may hold only letters, digits and -_.:@, not %q", s, r)
		}
	}
	return nil
}

// checkLabel allows the values of Kubernetes labels, and nothing at all.
func checkLabel(s string) error {
	if s == "" {
		return nil
	}
	if len(s) > maxLabel {
		return fmt.Errorf("%.20q... is longer than %d characters: shorten it", s, maxLabel)
	}
	for i, r := range s {
		edge := i == 0 || i == len(s)-1
		if !alphanumeric(r) && (edge || !strings.ContainsRune("-_.", r)) {
			return fmt.Errorf("%q may hold only letters, digits and -_. between them, not %q at %d", s, r, i)
		}
	}
	return nil
}

func alphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}
