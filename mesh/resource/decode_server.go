package resource

import (
	"net"
	"strconv"
	"time"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// permissiveUntil is the key in the mesh's own metadata of a server's listener.
const permissiveUntil = "permissive_until"

// isServer tells a server's listener from a client's (gRFC A36).
func isServer(m *xdsv3.Listener) bool {
	return m.GetApiListener() == nil && (m.GetAddress() != nil || len(m.GetFilterChains()) > 0 || m.GetDefaultFilterChain() != nil)
}

// decodeServer reads a server's listener: one chain of filters for every
// connection, with TLS, access decided by two filters, and nothing else.
func decodeServer(m *xdsv3.Listener) (*Listener, error) {
	l := &Listener{Name: m.GetName(), Server: &Server{}}
	var err error
	if l.Server.Address, err = decodeListenAddress(m.GetAddress()); err != nil {
		return nil, under("address", err)
	}
	if l.Server.PermissiveUntil, err = decodePermissive(m.GetMetadata()); err != nil {
		return nil, under("metadata", err)
	}
	chains, fallback := m.GetFilterChains(), m.GetDefaultFilterChain()
	switch {
	case len(chains) == 1 && fallback == nil:
		err = at("filter_chains", 0, l.chain(chains[0]))
	case len(chains) == 0 && fallback != nil:
		err = under("default_filter_chain", l.chain(fallback))
	default:
		err = bad("filter_chains", "must be one, for all connections")
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

func decodeListenAddress(m *xdsv3.Address) (string, error) {
	if m == nil {
		return "", bad("", "is missing")
	}
	if err := known(m); err != nil {
		return "", err
	}
	s := m.GetSocketAddress()
	if s == nil {
		return "", bad("socket_address", "is missing")
	}
	if err := known(s); err != nil {
		return "", under("socket_address", err)
	}
	if s.GetProtocol() != xdsv3.SocketAddress_TCP {
		return "", bad("socket_address.protocol", "%v is not supported; use TCP", s.GetProtocol())
	}
	if s.GetAddress() == "" {
		return "", bad("socket_address.address", "is empty")
	}
	if s.GetPortValue() > 65535 { // 0 is any (grpc-go)
		return "", bad("socket_address.port_value", "%d is no port", s.GetPortValue())
	}
	return net.JoinHostPort(s.GetAddress(), strconv.FormatUint(uint64(s.GetPortValue()), 10)), nil
}

func decodePermissive(m *xdsv3.Metadata) (time.Time, error) {
	own := m.GetFilterMetadata()[metadataKey].GetFields()
	if _, ok := own[permissiveUntil]; !ok {
		return time.Time{}, nil
	}
	value, err := text(own, permissiveUntil)
	if err != nil {
		return time.Time{}, err
	}
	until, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return time.Time{}, bad("filter_metadata."+metadataKey+"."+permissiveUntil, "%q is no time as in 2026-01-02T15:04:05Z", value)
	}
	return until, nil
}

func (l *Listener) chain(m *xdsv3.FilterChain) error {
	if err := known(m); err != nil {
		return err
	}
	if match := m.GetFilterChainMatch(); match != nil {
		if err := known(match); err != nil {
			return under("filter_chain_match", err)
		}
	}
	if m.GetTransportSocket() == nil {
		return bad("transport_socket", "is missing: connections would be made in plain text")
	}
	if err := decodeDownstreamTLS(m.GetTransportSocket()); err != nil {
		return under("transport_socket", err)
	}
	if len(m.GetFilters()) != 1 {
		return bad("filters", "must be one, an HttpConnectionManager")
	}
	f := m.GetFilters()[0]
	if err := known(f); err != nil {
		return at("filters", 0, err)
	}
	if f.GetName() == "" {
		return at("filters", 0, bad("name", "is empty"))
	}
	if f.GetTypedConfig().GetTypeUrl() != managerType {
		return at("filters", 0, bad("typed_config", "has the type %q, it must be an HttpConnectionManager", f.GetTypedConfig().GetTypeUrl()))
	}
	var manager xdsv3.HttpConnectionManager
	if err := unmarshal(f.GetTypedConfig().GetValue(), &manager); err != nil {
		return at("filters", 0, under("typed_config", err))
	}
	return at("filters", 0, under("typed_config", l.serve(&manager)))
}

// serve reads the manager of a server's listener.
func (l *Listener) serve(m *xdsv3.HttpConnectionManager) error {
	if err := known(m); err != nil {
		return err
	}
	if err := l.route(m); err != nil {
		return err
	}
	if m.GetCommonHttpProtocolOptions() != nil {
		return bad("common_http_protocol_options", "is of a client; a server bounds no call")
	}
	list, err := filterList(m.GetHttpFilters())
	if err != nil {
		return err
	}
	var access accessFilters
	for _, f := range list {
		if err := access.filter(f); err != nil {
			return at("http_filters", f.index, err)
		}
	}
	if l.Server.Access, err = access.access(); err != nil {
		return under("http_filters", err)
	}
	if l.Server.Access == nil {
		return bad("http_filters", "have no %q and no %q: everybody could call", AccessDenyFilter, AccessAllowFilter)
	}
	return nil
}

// filter reads one filter of a server's.
func (a *accessFilters) filter(f httpFilter) error {
	switch f.kind {
	case filterRouter:
		return under("typed_config", unmarshal(f.config.GetValue(), new(xdsv3.Router)))
	case filterAccess:
		action, err := actionOf(f.name)
		if err != nil {
			return err
		}
		var m xdsv3.HttpRBAC
		if !holds(f.config, &m) {
			return bad("typed_config", "has the type %q, it must be an RBAC", f.config.GetTypeUrl())
		}
		if err := m.UnmarshalStrict(f.config.GetValue()); err != nil {
			return under("typed_config", err)
		}
		rules, err := decodeAccess(&m, action)
		if err != nil {
			return under("typed_config", err)
		}
		a.set(f.name, rules)
		return nil
	case filterFault:
		return bad("", "%q: a server injects no faults", f.name)
	default:
		return refuseFilter(f.name, f.kind, f.config)
	}
}
