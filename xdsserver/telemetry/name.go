package telemetry

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// What members name is shown in pages, on terminals and in labels, and copied from there
// into files and shells. So nothing with markup, quotes, spaces or letters beyond ASCII
// becomes the name of anything: what only a liar would say is refused, what operators may
// word as they like is escaped.
const (
	// nameMarks are what names of services and hosts have beside letters and digits,
	// pathMarks those of methods, clusters, policies, addresses and SPIFFE ids.
	nameMarks = "-._"
	pathMarks = nameMarks + "/:@[]%~+"
)

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// only reports whether a text has nothing but letters and digits of ASCII, and marks.
func only(text, marks string) bool {
	for i := range len(text) {
		if !alphanumeric(text[i]) && strings.IndexByte(marks, text[i]) < 0 {
			return false
		}
	}
	return true
}

// named reports whether a text may name a service: as a mesh or DNS has it, or an IP
// address, which stock clients call services by. None names nothing, and may.
func named(text string) bool {
	if len(text) > maxName || only(text, nameMarks) {
		return len(text) <= maxName
	}
	ip, err := netip.ParseAddr(text)
	return err == nil && ip.Zone() == ""
}

// becoming reports whether an attribute's value may become a name. Those that are not
// here are not shown, or escaped first.
func becoming(key, value string) bool {
	switch key {
	case "tulle.destination":
		return named(value)
	case "grpc.target":
		return named(target(value))
	case "tulle.cluster":
		return clustered(value)
	case "grpc.method", "tulle.source", "tulle.address", "tulle.endpoint", "tulle.policy":
		return only(value, pathMarks)
	default:
		return true
	}
}

// clustered reports whether a text may name a cluster, "voting" or "voting/v2".
func clustered(text string) bool {
	service, version := cutVersion(text)
	return named(service) && len(version) <= maxName && only(version, pathMarks)
}

// escaped is a text in which what no name has is escaped as in a URI (RFC 3986 section
// 2.1): the operator's words for a rule or a zone, the clusters of other meshes.
func escaped(text string) string {
	const digits = "0123456789ABCDEF"
	if only(text, pathMarks) && !strings.Contains(text, "%") {
		return text
	}
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c != '%' && only(text[i:i+1], pathMarks):
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// schemes are those of gRPC's targets that may come without slashes.
var schemes = []string{"dns", "ipv4", "ipv6", "passthrough", "unix", "unix-abstract", "xds"}

// target is the service of a gRPC target, or the host where it is no service:
// "xds:///voting", "dns:voting:8080", "[::1]:80". Of several addresses it is the first.
func target(text string) string {
	text, _, _ = strings.Cut(text, ",")
	if i := strings.LastIndexByte(text, '/'); i >= 0 {
		text = text[i+1:]
	}
	// "dns:443" is a host and its port.
	if scheme, rest, ok := strings.Cut(text, ":"); ok && slices.Contains(schemes, scheme) && strings.Trim(rest, "0123456789") != "" {
		text = rest
	}
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if ip, err := netip.ParseAddr(text); err == nil {
		return ip.WithZone("").String()
	}
	return text
}
