package data

import (
	"fmt"
	"strings"
	"time"
)

// The modes that figures speak of. Those of grpc-go's xDS have mTLS and RBAC, pairs of
// proxies have mTLS between them; what is tuned carries calls with Tulle's options of
// grpc, and is Tulle without the mesh.
const (
	insecureMode = "plain insecure"
	mtlsMode     = "plain mTLS"
	baseline     = "plain mTLS+deadline"
	tunedMode    = baseline + " tuned"
	xdsMode      = "grpc-go xDS"
	otelMode     = "grpc-go xDS+OpenTelemetry"
	tulleMode    = "Tulle"
	envoyMode    = "Envoy pair"
	haproxyMode  = "HAProxy pair"
)

// deadline is that of each call in every mode that has one: a deadline alone costs plain
// grpc-go a tenth of its throughput, so that the baseline has it too.
const deadline = 5 * time.Second

// A mode is one way for a client to reach a server.
type mode struct {
	name string
	// program is under bench/service, with its flags.
	program string
	flags   []string
	// mtls says that plain's programs get an identity.
	mtls bool
	// service is what xdsserver calls it; empty for what does not ask xdsserver.
	service string
	// manifests are applied for it, without the access policy if open is set.
	manifests string
	open      bool
	// sidecar is the proxies it goes through: "envoy", "haproxy" or none.
	sidecar string
	// part marks Tulle with one part switched off, which is measured at saturation alone.
	part bool
}

func (m mode) tulle() bool { return m.program == "tulle" }
func (m mode) xds() bool   { return m.program == "grpcxds" }

// modes are all, in the order in which tables have them.
func modes() []mode {
	timeout := []string{"-timeout", deadline.String()}
	xds := func(name, service string, flags ...string) mode {
		return mode{name: name, program: "grpcxds", flags: flags, service: service, manifests: serviceOf(service, withDeadline) + routesOf(service)}
	}
	tulle := func(name, service, spec string) mode {
		return mode{name: name, program: "tulle", service: service, manifests: serviceOf(service, spec) + routesOf(service)}
	}
	part := func(name, spec string) mode {
		m := tulle("Tulle without "+name, "without-"+strings.ToLower(strings.ReplaceAll(name, " ", "-")), spec)
		m.part = true
		return m
	}
	unrouted := part("routes", withDeadline)
	unrouted.manifests = serviceOf(unrouted.service, withDeadline)
	open := part("an access policy", withDeadline)
	open.open = true
	return []mode{
		{name: insecureMode, program: "plain"},
		{name: mtlsMode, program: "plain", mtls: true},
		{name: baseline, program: "plain", mtls: true, flags: timeout},
		{name: tunedMode, program: "plain", mtls: true, flags: []string{timeout[0], timeout[1], "-tuned"}},
		xds(xdsMode, "stock"),
		xds(otelMode, "stock-metrics", "-metrics"),
		tulle(tulleMode, "echo", withDeadline),
		unrouted,
		open,
		part("retries", withDeadline+", retry: {attempts: 1}"),
		part("breakers", withDeadline+", breaker: {off: true}"),
		part("peak EWMA", withDeadline+", loadBalancing: {policy: round-robin}"),
		part("a deadline", limitless+", timeout: 0s"),
		{name: envoyMode, program: "plain", flags: timeout, sidecar: "envoy"},
		{name: haproxyMode, program: "plain", flags: timeout, sidecar: "haproxy"},
	}
}

// withDeadline is the service's. Plain grpc-go has no limit of open calls, of which a
// machine that pauses for a moment may make many: 1,024 would be the default.
var withDeadline = limitless + ", timeout: " + deadline.String()

const limitless = "maxRequests: 100000"

// caller is the service that all clients are.
const caller = "bench-client"

func serviceOf(name, spec string) string {
	return fmt.Sprintf("---\napiVersion: tulle/v1\nkind: Service\nmetadata: {name: %s}\nspec: {%s}\n", name, spec)
}

// routesOf are ten rules, of which only the last matches: five of another method with a
// header, four of a header that no call has.
func routesOf(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "---\napiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: %s}\nspec:\n"+
		"  parentRefs: [{kind: Service, name: %s}]\n  rules:\n", name, name)
	for i := range 5 {
		fmt.Fprintf(&b, "    - matches: [{method: {service: tulle.bench.v1.EchoService, method: Other%d}, headers: [{name: x-tenant, value: t%d}]}]\n"+
			"      backendRefs: [{name: %s}]\n", i, i, name)
	}
	for i := range 4 {
		fmt.Fprintf(&b, "    - matches: [{headers: [{name: x-tenant, value: u%d}]}]\n      backendRefs: [{name: %s}]\n", i, name)
	}
	fmt.Fprintf(&b, "    - backendRefs: [{name: %s}]\n", name)
	return b.String()
}

// accessOf lets the client in and nobody else.
func accessOf(name string) string {
	return fmt.Sprintf("---\napiVersion: tulle/v1\nkind: AccessPolicy\nmetadata: {name: %s}\n"+
		"spec: {allow: [{from: [%s], methods: [\"/tulle.bench.v1.EchoService/*\"]}]}\n", name, caller)
}
