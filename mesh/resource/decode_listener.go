package resource

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

const managerType = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

// DecodeListener decodes and validates the bytes of a Listener message of a
// client: one with an api_listener (gRFC A27). The error is a *[DecodeError].
func DecodeListener(value []byte) (*Listener, error) {
	var m listenerv3.Listener
	if err := unmarshal(value, &m); err != nil {
		return nil, refuse(ListenerType, "", err)
	}
	l, err := decodeListener(&m)
	if err != nil {
		return nil, refuse(ListenerType, m.GetName(), err)
	}
	return l, nil
}

func decodeListener(m *listenerv3.Listener) (*Listener, error) {
	if m.GetName() == "" {
		return nil, bad("name", "is empty")
	}
	if err := known(m); err != nil {
		return nil, err
	}
	if m.GetApiListener() == nil {
		return nil, bad("api_listener", "is missing")
	}
	if err := known(m.GetApiListener()); err != nil {
		return nil, under("api_listener", err)
	}
	api := m.GetApiListener().GetApiListener()
	if api.GetTypeUrl() != managerType {
		return nil, bad("api_listener.api_listener", "has the type %q, it must be an HttpConnectionManager", api.GetTypeUrl())
	}
	var manager hcmv3.HttpConnectionManager
	if err := unmarshal(api.GetValue(), &manager); err != nil {
		return nil, under("api_listener.api_listener", err)
	}
	l := &Listener{Name: m.GetName()}
	if err := l.manage(&manager); err != nil {
		return nil, under("api_listener.api_listener", err)
	}
	return l, nil
}

func (l *Listener) manage(m *hcmv3.HttpConnectionManager) error {
	if err := known(m); err != nil {
		return err // also what A41 forbids: xff_num_trusted_hops, original_ip_detection_extensions
	}
	switch {
	case m.GetRds() != nil:
		if err := known(m.GetRds()); err != nil {
			return under("rds", err)
		}
		if err := own(m.GetRds().GetConfigSource()); err != nil {
			return under("rds.config_source", err)
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

	options := m.GetCommonHttpProtocolOptions()
	if err := known(options); err != nil {
		return under("common_http_protocol_options", err)
	}
	var err error
	if l.MaxStreamDuration, err = duration(options.GetMaxStreamDuration()); err != nil {
		return under("common_http_protocol_options.max_stream_duration", err)
	}
	return l.filter(m.GetHttpFilters())
}

// filter reads the HTTP filters. The router ends their chain (gRFC A39);
// optional ones that are unknown are as good as absent.
func (l *Listener) filter(filters []*hcmv3.HttpFilter) error {
	names := make(map[string]bool, len(filters))
	routed := false
	for i, f := range filters {
		name, config := f.GetName(), f.GetTypedConfig()
		if name == "" {
			return at("http_filters", i, bad("name", "is empty"))
		}
		if names[name] {
			return at("http_filters", i, bad("name", "%q is taken by another filter", name))
		}
		names[name] = true

		kind := kindOf(config)
		if kind == filterUnknown && f.GetIsOptional() {
			continue
		}
		if routed {
			return at("http_filters", i, bad("", "%q stands behind the router, which must be the last", name))
		}
		if f.GetDisabled() {
			return at("http_filters", i, bad("disabled", "is not supported; leave the filter out"))
		}
		switch kind {
		case filterRouter:
			routed = true
			if err := unmarshal(config.GetValue(), new(routerv3.Router)); err != nil {
				return at("http_filters", i, under("typed_config", err))
			}
		case filterFault:
			fault, err := decodeNamedFault(name, config)
			if err != nil {
				return at("http_filters", i, under("typed_config", err))
			}
			l.Fault, l.FaultFilter = fault, true
		default:
			return at("http_filters", i, refuseFilter(name, kind, config))
		}
	}
	if !routed {
		return bad("http_filters", "has no router at its end")
	}
	return nil
}
