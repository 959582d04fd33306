package resource

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
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
	filterTraffic
	filterAdmission
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
	case "type.googleapis.com/tulle.policy.v1.Traffic":
		return filterTraffic
	case "type.googleapis.com/tulle.policy.v1.Admission":
		return filterAdmission
	default:
		return filterUnknown
	}
}

// refuseFilter says why a filter or its override is not accepted.
func refuseFilter(name string, kind filterKind, config *anypb.Any) error {
	switch kind {
	case filterAccess:
		return bad("", "%q: access is decided by a server's listener and routes of non_forwarding_action, and stands there only", name)
	case filterRouter:
		return bad("", "%q: the router cannot be overridden", name)
	case filterTraffic:
		return bad("", "%q: what a client does for calls stands in its routes only", name)
	case filterAdmission:
		return bad("", "%q: which calls a server takes stands in its routes of non_forwarding_action only", name)
	default:
		return bad("", "%q: no filter of type %q is known; mark it optional if clients may go without", name, config.GetTypeUrl())
	}
}

// httpFilter is an element of a manager's http_filters.
type httpFilter struct {
	index  int
	name   string
	kind   filterKind
	config *anypb.Any
}

// filterList checks the HTTP filters as a chain. The router ends it (gRFC A39);
// optional ones that are unknown are as good as absent.
func filterList(filters []*xdsv3.HttpFilter) ([]httpFilter, error) {
	names := make(map[string]bool, len(filters))
	var list []httpFilter
	routed := false
	for i, m := range filters {
		f := httpFilter{i, m.GetName(), kindOf(m.GetTypedConfig()), m.GetTypedConfig()}
		if f.name == "" {
			return nil, at("http_filters", i, bad("name", "is empty"))
		}
		if names[f.name] {
			return nil, at("http_filters", i, bad("name", "%q is taken by another filter", f.name))
		}
		names[f.name] = true
		if f.kind == filterUnknown && m.GetIsOptional() {
			continue
		}
		if routed {
			return nil, at("http_filters", i, bad("", "%q stands behind the router, which must be the last", f.name))
		}
		if m.GetDisabled() {
			return nil, at("http_filters", i, bad("disabled", "is not supported; leave the filter out"))
		}
		routed = f.kind == filterRouter
		list = append(list, f)
	}
	if !routed {
		return nil, bad("http_filters", "has no router at its end")
	}
	return list, nil
}

// overridePlace is where a typed_per_filter_config stands.
type overridePlace int

const (
	overrideElsewhere overridePlace = iota // of a virtual host or a weighted cluster
	overrideRoute                          // of a client's route
	overrideInbound                        // of a server's
)

// overrides is what a typed_per_filter_config has in place of the listener's
// filters, nil for what it leaves as it is, and the mesh's own policies.
type overrides struct {
	fault     *Fault
	access    *Access
	traffic   *Traffic
	admission *Admission
}

// decodeOverrides reads a typed_per_filter_config. Only an inbound route may
// override the access filters. The mesh's own policies are read whether they are
// marked optional or not: the mark is for clients that do not know them.
func decodeOverrides(configs map[string]*anypb.Any, place overridePlace) (overrides, error) {
	out, access := overrides{}, accessFilters{}
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		config, optional, err := unwrapOverride(name, configs[name])
		if err != nil {
			return overrides{}, under("typed_per_filter_config", err)
		}
		switch kind := kindOf(config); {
		case kind == filterFault:
			out.fault, err = decodeNamedFault(name, config)
		case kind == filterAccess && place == overrideInbound:
			var f *accessFilter
			if f, err = decodeAccessOverride(name, config); err == nil {
				access.set(name, f)
			}
		case kind == filterTraffic && place == overrideRoute:
			out.traffic, err = decodeNamedTraffic(name, config)
		case kind == filterAdmission && place == overrideInbound:
			out.admission, err = decodeNamedAdmission(name, config)
		case kind == filterUnknown && optional:
		default:
			err = refuseFilter(name, kind, config)
		}
		if err != nil {
			return overrides{}, under("typed_per_filter_config", err)
		}
	}
	var err error
	out.access, err = access.access()
	return out, under("typed_per_filter_config", err)
}

// unwrapOverride returns what is in a FilterConfig, if config is one.
func unwrapOverride(name string, config *anypb.Any) (inner *anypb.Any, optional bool, err error) {
	wrapper := new(xdsv3.FilterConfig)
	if !holds(config, wrapper) {
		return config, false, nil
	}
	if err := unmarshal(config.GetValue(), wrapper); err != nil {
		return nil, false, bad("", "%q: %v", name, err)
	}
	if wrapper.GetDisabled() {
		return nil, false, bad("", "%q: disabled is not supported; an empty HTTPFault injects nothing, DENY of no policies denies nothing", name)
	}
	return wrapper.GetConfig(), wrapper.GetIsOptional(), nil
}

// decodeFaultOverride is decodeOverrides for places that have nothing else.
func decodeFaultOverride(configs map[string]*anypb.Any) (*Fault, error) {
	out, err := decodeOverrides(configs, overrideElsewhere)
	return out.fault, err
}
