package resource

import (
	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

const managerType = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

// DecodeListener decodes and validates the bytes of a Listener message: of a
// client, which has an api_listener (gRFC A27), or of a server, which has an
// address (gRFC A36). The error is a *[DecodeError].
func DecodeListener(value []byte) (*Listener, error) {
	var m xdsv3.Listener
	if err := unmarshal(value, &m); err != nil {
		return nil, refuse(ListenerType, "", err)
	}
	l, err := decodeListener(&m)
	if err != nil {
		return nil, refuse(ListenerType, m.GetName(), err)
	}
	return l, nil
}

const notAClient = "is of a server; a client's listener has an api_listener only"

func decodeListener(m *xdsv3.Listener) (*Listener, error) {
	if m.GetName() == "" {
		return nil, bad("name", "is empty")
	}
	if err := known(m); err != nil {
		return nil, err
	}
	if isServer(m) {
		return decodeServer(m)
	}
	switch {
	case m.GetApiListener() == nil:
		return nil, bad("api_listener", "is missing")
	case m.GetAddress() != nil:
		return nil, bad("address", notAClient)
	case len(m.GetFilterChains()) > 0:
		return nil, bad("filter_chains", notAClient)
	case m.GetDefaultFilterChain() != nil:
		return nil, bad("default_filter_chain", notAClient)
	}
	if err := known(m.GetApiListener()); err != nil {
		return nil, under("api_listener", err)
	}
	api := m.GetApiListener().GetApiListener()
	if api.GetTypeUrl() != managerType {
		return nil, bad("api_listener.api_listener", "has the type %q, it must be an HttpConnectionManager", api.GetTypeUrl())
	}
	var manager xdsv3.HttpConnectionManager
	if err := unmarshal(api.GetValue(), &manager); err != nil {
		return nil, under("api_listener.api_listener", err)
	}
	l := &Listener{Name: m.GetName()}
	if err := l.manage(&manager); err != nil {
		return nil, under("api_listener.api_listener", err)
	}
	return l, nil
}

// manage reads the manager of a client's listener.
func (l *Listener) manage(m *xdsv3.HttpConnectionManager) error {
	if err := known(m); err != nil {
		return err // also what A41 forbids: xff_num_trusted_hops, original_ip_detection_extensions
	}
	if err := l.route(m); err != nil {
		return err
	}
	options := m.GetCommonHttpProtocolOptions()
	if err := known(options); err != nil {
		return under("common_http_protocol_options", err)
	}
	var err error
	if l.MaxStreamDuration, err = duration(options.GetMaxStreamDuration()); err != nil {
		return under("common_http_protocol_options.max_stream_duration", err)
	}
	list, err := filterList(m.GetHttpFilters())
	if err != nil {
		return err
	}
	for _, f := range list {
		if err := l.filter(f); err != nil {
			return at("http_filters", f.index, err)
		}
	}
	return nil
}

// route reads where the routes are.
func (l *Listener) route(m *xdsv3.HttpConnectionManager) error {
	switch {
	case m.GetRds() != nil:
		if err := known(m.GetRds()); err != nil {
			return under("rds", err)
		}
		if err := own(m.GetRds().GetConfigSource()); err != nil {
			return under("rds.config_source", err)
		}
		if l.Server != nil && m.GetRds().GetConfigSource().GetAds() == nil {
			return bad("rds.config_source", "must be ads in a server's listener, as grpc-go has it")
		}
		if l.RouteName = m.GetRds().GetRouteConfigName(); l.RouteName == "" {
			return bad("rds.route_config_name", "is empty")
		}
	case m.GetRouteConfig() != nil:
		routes, err := decodeRoutes(m.GetRouteConfig())
		if err != nil {
			return under("route_config", err)
		}
		l.Routes = routes
	default:
		return bad("", "has no routes: set rds or route_config")
	}
	return nil
}

// filter reads one filter of a client's.
func (l *Listener) filter(f httpFilter) error {
	switch f.kind {
	case filterRouter:
		return under("typed_config", unmarshal(f.config.GetValue(), new(xdsv3.Router)))
	case filterFault:
		fault, err := decodeNamedFault(f.name, f.config)
		if err != nil {
			return under("typed_config", err)
		}
		l.Fault, l.FaultFilter = fault, true
		return nil
	default:
		return refuseFilter(f.name, f.kind, f.config)
	}
}
