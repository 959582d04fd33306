package resource

import (
	"maps"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// FaultFilter is the name that a listener's fault filter must have: the
// configurations of routes that override it are found by this name.
const FaultFilter = "envoy.filters.http.fault"

// filterKind is what this package makes of a filter's configuration.
type filterKind int

const (
	filterUnknown filterKind = iota
	filterFault
	filterRouter
	filterAccess
)

// kindOf tells a configuration's kind by its type. A TypedStruct is unknown:
// nothing here is configured by one.
func kindOf(config *anypb.Any) filterKind {
	switch config.GetTypeUrl() {
	case "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault":
		return filterFault
	case "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router":
		return filterRouter
	case "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
		"type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute":
		return filterAccess
	default:
		return filterUnknown
	}
}

// refuseFilter says why a filter or its override is not accepted.
func refuseFilter(name string, kind filterKind, config *anypb.Any) error {
	switch kind {
	case filterAccess:
		return bad("", "%q: access is decided by servers, a client has no use for the filter", name)
	case filterRouter:
		return bad("", "%q: the router cannot be overridden", name)
	default:
		return bad("", "%q: no filter of type %q is known; mark it optional if clients may go without", name, config.GetTypeUrl())
	}
}

// decodeOverrides reads a typed_per_filter_config. It returns the override of
// the fault filter, nil if there is none.
func decodeOverrides(configs map[string]*anypb.Any) (*Fault, error) {
	var fault *Fault
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		config, optional := configs[name], false
		if wrapper := new(routev3.FilterConfig); config.MessageIs(wrapper) {
			if err := unmarshal(config.GetValue(), wrapper); err != nil {
				return nil, under("typed_per_filter_config", bad("", "%q: %v", name, err))
			}
			if wrapper.GetDisabled() {
				return nil, under("typed_per_filter_config",
					bad("", "%q: disabled is not supported; an empty HTTPFault injects nothing", name))
			}
			config, optional = wrapper.GetConfig(), wrapper.GetIsOptional()
		}
		switch kind := kindOf(config); {
		case kind == filterFault:
			f, err := decodeNamedFault(name, config)
			if err != nil {
				return nil, under("typed_per_filter_config", err)
			}
			fault = f
		case kind == filterUnknown && optional:
			continue
		default:
			return nil, under("typed_per_filter_config", refuseFilter(name, kind, config))
		}
	}
	return fault, nil
}
