package resource

import (
	"slices"
	"strings"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

const tlsSocket = "envoy.transport_sockets.tls"

// decodeUpstreamTLS reads which identities the endpoints of a cluster may have
// (gRFC A29). They are sorted, each is there once, and there is at least one: to
// accept any identity of a trust domain is to let any service stand for any other.
func decodeUpstreamTLS(m *xdsv3.TransportSocket) ([]string, error) {
	var tls xdsv3.UpstreamTlsContext
	if err := unwrapTLS(m, &tls); err != nil {
		return nil, err
	}
	if err := known(&tls); err != nil {
		return nil, under("typed_config", err)
	}
	validation, err := decodeCommonTLS(tls.GetCommonTlsContext())
	if err != nil {
		return nil, under("typed_config.common_tls_context", err)
	}
	ids, err := decodePeerIDs(sans(validation))
	return ids, under("typed_config.common_tls_context.validation_context", err)
}

// decodeDownstreamTLS checks how a server is to make connections: it has nothing
// to say, since there is one way.
func decodeDownstreamTLS(m *xdsv3.TransportSocket) error {
	var tls xdsv3.DownstreamTlsContext
	if err := unwrapTLS(m, &tls); err != nil {
		return err
	}
	if err := known(&tls); err != nil {
		return under("typed_config", err)
	}
	if !tls.GetRequireClientCertificate().GetValue() {
		return bad("typed_config.require_client_certificate", "must be true: callers would have no identity")
	}
	validation, err := decodeCommonTLS(tls.GetCommonTlsContext())
	if err != nil {
		return under("typed_config.common_tls_context", err)
	}
	if len(sans(validation)) > 0 {
		return bad("typed_config.common_tls_context.validation_context.match_subject_alt_names",
			"is of a client; a server's callers are decided on by its access filters")
	}
	return nil
}

// unwrapTLS reads the context in m, which must be of the type of tls.
func unwrapTLS(m *xdsv3.TransportSocket, tls xdsv3.Message) error {
	if err := known(m); err != nil {
		return err
	}
	if m.GetName() != tlsSocket {
		return bad("name", "%q is not supported; use %q", m.GetName(), tlsSocket)
	}
	if config := m.GetTypedConfig(); config.GetTypeUrl() != "type.googleapis.com/"+tls.FullName() {
		return bad("typed_config", "has the type %q, it must be the message %s", config.GetTypeUrl(), tls.FullName()[strings.LastIndexByte(tls.FullName(), '.')+1:])
	}
	return under("typed_config", tls.UnmarshalStrict(m.GetTypedConfig().GetValue()))
}

func decodeCommonTLS(m *xdsv3.CommonTlsContext) (*xdsv3.CertificateValidationContext, error) {
	if m == nil {
		return nil, bad("", "is missing")
	}
	if err := known(m); err != nil {
		return nil, err
	}
	if err := checkProvider(m.GetTlsCertificateProviderInstance()); err != nil {
		return nil, under("tls_certificate_provider_instance", err)
	}
	validation := m.GetValidationContext()
	if validation == nil {
		return nil, bad("validation_context", "is missing: any certificate would be accepted")
	}
	if err := known(validation); err != nil {
		return nil, under("validation_context", err)
	}
	if err := checkProvider(validation.GetCaCertificateProviderInstance()); err != nil {
		return nil, under("validation_context.ca_certificate_provider_instance", err)
	}
	return validation, nil
}

func checkProvider(m *xdsv3.CertificateProviderPluginInstance) error {
	if m == nil {
		return bad("", "is missing")
	}
	if err := known(m); err != nil {
		return err
	}
	if m.GetInstanceName() != CertificateProvider {
		return bad("instance_name", "%q is not known; there is %q", m.GetInstanceName(), CertificateProvider)
	}
	return nil
}

// sans are the deprecated matchers, which are the ones that gRPC reads (gRFC A29).
func sans(m *xdsv3.CertificateValidationContext) []*xdsv3.StringMatcher {
	return m.GetMatchSubjectAltNames()
}

func decodePeerIDs(matchers []*xdsv3.StringMatcher) ([]string, error) {
	const field = "match_subject_alt_names"
	if len(matchers) == 0 {
		return nil, bad(field, "is empty: any identity would be accepted")
	}
	if n := len(matchers); n > maxPeerIDs {
		return nil, bad(field, "are %d, at most %d are accepted", n, maxPeerIDs)
	}
	ids := make([]string, len(matchers))
	for i, m := range matchers {
		if err := known(m); err != nil {
			return nil, at(field, i, err)
		}
		exact, ok := m.GetMatchPattern().(*xdsv3.StringMatcher_Exact)
		if !ok {
			return nil, at(field, i, bad("", "must be exact: an identity is one service's"))
		}
		if err := checkID(exact.Exact); err != nil {
			return nil, at(field, i, under("exact", err))
		}
		ids[i] = exact.Exact
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
