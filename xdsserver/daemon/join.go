package daemon

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// The ways to join, as Config.Enrol has them. OIDC has its own field.
const (
	enrolSocket = "socket"
	enrolToken  = "token"
	enrolNone   = "none"
)

// An enrolment is how processes may get their first certificate.
type enrolment struct {
	socket, token bool
	oidc          []string
}

// parseEnrol reads Config.Enrol and Config.OIDC.
func parseEnrol(c Config) (enrolment, error) {
	e := enrolment{oidc: c.OIDC}
	methods := strings.Split(c.Enrol, ",")
	for _, method := range methods {
		switch method {
		case enrolSocket:
			e.socket = true
		case enrolToken:
			e.token = true
		case enrolNone:
			if len(methods) > 1 {
				return e, &ConfigError{Flag: "--enrol", Reason: fmt.Sprintf("%s says none beside others: leave one out", c.Enrol)}
			}
		default:
			return e, &ConfigError{Flag: "--enrol", Reason: fmt.Sprintf("%q is no way to join, want socket, token, both with a comma between, or none", method)}
		}
	}
	// A socket that nobody listens on lets nobody join.
	e.socket = e.socket && c.Socket != NoSocket
	return e, nil
}

// admits refuses a mesh port that processes of other machines reach and cannot
// join: every connection they make would fail, and why is not seen here.
func (e enrolment) admits(c Config) error {
	loopback, err := isLoopback("--listen", c.Listen)
	if err != nil || loopback || e.token || len(e.oidc) > 0 || isWorkload(c.CA) {
		return err
	}
	return &ConfigError{Flag: "--listen", Reason: fmt.Sprintf("%s is for processes of other machines, and --enrol %s gives them no way to join: "+
		"add token (--enrol socket,token) or an issuer (--oidc), or listen on 127.0.0.1", c.Listen, c.Enrol)}
}

// names are shown to operators.
func (e enrolment) names() []string {
	var names []string
	if e.socket {
		names = append(names, enrolSocket)
	}
	if e.token {
		names = append(names, enrolToken)
	}
	for _, o := range e.oidc {
		for part := range strings.SplitSeq(o, ",") {
			if issuer, ok := strings.CutPrefix(part, "issuer="); ok {
				names = append(names, "oidc "+issuer)
			}
		}
	}
	return names
}

// hosts are the names and addresses by which others reach the mesh port and the
// dashboard, for the server's own certificate: gRPC's own clients check them, and browsers.
func hosts(c Config) []string {
	var found []string
	for _, address := range []string{c.Listen, c.Advertise, c.HTTP} {
		host, _, err := net.SplitHostPort(address)
		switch {
		case err != nil || host == "" && address == c.Advertise:
		case !isWildcard(host):
			found = append(found, host)
		case address != c.Advertise:
			found = append(found, machineAddresses()...)
			if name := hostname(); name != "" {
				found = append(found, name)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// isWildcard reports whether a listener's host is every address of the machine.
func isWildcard(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// machineAddresses are the addresses of this machine that others may reach.
func machineAddresses() []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var found []string
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			found = append(found, n.IP.String())
		}
	}
	return found
}

// meshAddress is the address that join tokens name unless told otherwise.
func meshAddress(c Config, listens net.Addr) string {
	if c.Advertise != "" {
		return c.Advertise
	}
	host, port, err := net.SplitHostPort(listens.String())
	if err != nil || !isWildcard(host) {
		return listens.String()
	}
	if addresses := machineAddresses(); len(addresses) > 0 {
		return net.JoinHostPort(addresses[0], port)
	}
	return ""
}
