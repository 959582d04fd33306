package manifest

import (
	"fmt"
	"strconv"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// Marshal writes an object as one YAML document in its canonical form: the same
// object always gives the same bytes, fields that say nothing are left out, and
// [Parse] gives the object back (with another From). What only other sources can say is
// written with a comment that says so, and Parse refuses it. It returns an error for an
// object that YAML cannot hold, which Parse never makes.
func Marshal(o model.Object) ([]byte, error) {
	var spec node
	switch o := o.(type) {
	case *model.Service:
		spec = serviceNode(o)
	case *model.Route:
		spec = routeNode(o)
	case *model.AccessPolicy:
		spec = policyNode(o)
	case *model.Mesh:
		spec = meshNode(o)
	default:
		return nil, fmt.Errorf("manifest: kind %s cannot be written", o.Ref().Kind)
	}
	ref := o.Ref()
	var meta mapping
	meta.text("name", ref.Name)
	if ref.Namespace != model.DefaultNamespace {
		meta.text("namespace", ref.Namespace)
	}
	var doc mapping
	doc.text("apiVersion", APIVersion)
	doc.text("kind", string(ref.Kind))
	doc.put("metadata", meta)
	doc.put("spec", spec)
	var w writer
	w.mapping(doc, 0)
	if w.err != nil {
		return nil, fmt.Errorf("manifest: %s: %w", ref, w.err)
	}
	return w.b, nil
}

func serviceNode(s *model.Service) node {
	var spec mapping
	spec.duration("timeout", s.Timeout)
	spec.duration("idleTimeout", s.IdleTimeout)
	spec.duration("hopCost", s.HopCost)
	spec.retry("retry", s.Retry)
	spec.retryBudget("retryBudget", s.RetryBudget)
	spec.hedge("hedge", s.Hedge)
	spec.breaker("breaker", s.Breaker)
	spec.breaker("serviceBreaker", s.ServiceBreaker)
	spec.number("maxEjectedPercent", s.MaxEjectedPercent)
	spec.outliers("outlierDetection", s.OutlierDetection)
	spec.balancing("loadBalancing", s.LoadBalancing)
	spec.number("maxRequests", s.MaxRequests)
	spec.number("maxRequestsPerEndpoint", s.MaxRequestsPerEndpoint)
	spec.rate("rateLimit", s.RateLimit)
	spec.admission("admission", s.Admission, s.Name.Namespace)
	methods := make(sequence, 0, len(s.Methods))
	for _, m := range s.Methods {
		var fact mapping
		fact.text("name", m.Name)
		fact.flag("clientStreaming", m.ClientStreaming)
		fact.flag("idempotent", m.Idempotent)
		methods = append(methods, fact)
	}
	spec.list("methods", methods)
	if mtls := mtlsNode(s.Strict, s.PermissiveUntil); mtls != nil {
		spec.put("mtls", mtls)
	}
	endpoints := make(sequence, 0, len(s.Endpoints))
	for _, e := range s.Endpoints {
		var m mapping
		if len(e.Addresses) == 1 {
			m.text("address", e.Addresses[0])
		} else {
			var addresses sequence
			for _, a := range e.Addresses {
				addresses = append(addresses, quote(a))
			}
			m.put("addresses", addresses)
		}
		m.text("version", e.Version)
		m.text("region", e.Region)
		m.text("zone", e.Zone)
		m.number("weight", e.Weight)
		m.text("instance", e.Instance)
		endpoints = append(endpoints, m)
	}
	spec.list("endpoints", endpoints)
	return spec
}

func routeNode(r *model.Route) node {
	parents, rules := make(sequence, 0, len(r.Parents)), make(sequence, 0, len(r.Rules))
	for _, p := range r.Parents {
		var m mapping
		m.text("kind", "Service")
		m.reference(p, r.Namespace)
		parents = append(parents, m)
	}
	for _, rule := range r.Rules {
		rules = append(rules, ruleNode(rule, r.Namespace))
	}
	var spec mapping
	spec.list("parentRefs", parents)
	if r.Ordered {
		spec.beyond("ordered", scalarText("true"))
	}
	spec.list("rules", rules)
	return spec
}

func ruleNode(rule model.Rule, namespace string) node {
	matches, backends := make(sequence, 0, len(rule.Matches)), make(sequence, 0, len(rule.Backends))
	for _, match := range rule.Matches {
		matches = append(matches, matchNode(match))
	}
	for _, b := range rule.Backends {
		var m mapping
		m.reference(b.Service, namespace)
		m.text("version", b.Version)
		m.raw("weight", strconv.FormatUint(uint64(b.Weight), 10))
		if failover := targetNodes(b.Failover, namespace); len(failover) > 0 {
			m.beyond("failover", failover)
		}
		backends = append(backends, m)
	}
	var m mapping
	m.text("name", rule.Name)
	m.list("matches", matches)
	m.list("backendRefs", backends)
	m.list("filters", filterNodes(rule, namespace))
	if rule.Timeout != nil {
		var timeouts mapping
		timeouts.raw("request", formatDuration(*rule.Timeout))
		m.put("timeouts", timeouts)
	}
	if rule.IdleTimeout != nil {
		m.raw("idleTimeout", formatDuration(*rule.IdleTimeout))
	}
	m.retry("retry", rule.Retry)
	m.hedge("hedge", rule.Hedge)
	m.rate("rateLimit", rule.RateLimit)
	m.fault("fault", rule.Fault)
	return m
}

func matchNode(match model.Match) node {
	kind := func(m *mapping, isRegex bool) {
		if isRegex {
			m.text("type", regex)
		}
	}
	var m, method mapping
	if match.Service != "" || match.Method != "" {
		kind(&method, match.Regex)
		method.text("service", match.Service)
		method.text("method", match.Method)
		m.put("method", method)
	}
	if match.Path != nil {
		m.beyond("path", pathNode(*match.Path))
	}
	headers := make(sequence, 0, len(match.Headers))
	for _, h := range match.Headers {
		var header mapping
		kind(&header, h.Regex)
		header.put("name", quote(h.Name))
		if h.Absent {
			header.beyond("absent", scalarText("true"))
		}
		if h.Invert {
			header.beyond("invert", scalarText("true"))
		}
		if !h.Absent || h.Value != "" {
			header.put("value", quote(h.Value))
		}
		headers = append(headers, header)
	}
	m.list("headers", headers)
	return m
}

func targetNodes(targets []model.Target, namespace string) sequence {
	nodes := make(sequence, 0, len(targets))
	for _, t := range targets {
		var m mapping
		m.reference(t.Service, namespace)
		m.text("version", t.Version)
		nodes = append(nodes, m)
	}
	return nodes
}

// reference writes name and, where it is not the given one, namespace.
func (m *mapping) reference(n model.ServiceName, namespace string) {
	m.put("name", quote(n.Name))
	if n.Namespace != namespace {
		m.put("namespace", quote(n.Namespace))
	}
}
