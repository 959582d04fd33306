package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// tlsSocket is the one name that gRPC takes (gRFC A29).
const tlsSocket = "envoy.transport_sockets.tls"

// upstreamTLS has clients connect to nobody but who has one of the identities. Without
// them any certificate of the authority would do, which is any service's.
func upstreamTLS(ids []string) *corev3.TransportSocket {
	common := commonTLS()
	matchers := make([]*matcherv3.StringMatcher, len(ids))
	for i, id := range ids {
		matchers[i] = exactly(id)
	}
	// Deprecated in favour of typed matchers, which gRPC does not read (gRFC A29).
	common.GetValidationContext().MatchSubjectAltNames = matchers
	return socket(&tlsv3.UpstreamTlsContext{CommonTlsContext: common})
}

// downstreamTLS has servers take connections from whoever has an identity of the
// trust domain. Who of them may call is not decided here: what is in a Listener
// costs all connections when it changes.
func downstreamTLS() *corev3.TransportSocket {
	return socket(&tlsv3.DownstreamTlsContext{
		CommonTlsContext:         commonTLS(),
		RequireClientCertificate: wrapperspb.Bool(true),
	})
}

func commonTLS() *tlsv3.CommonTlsContext {
	provider := func() *tlsv3.CertificateProviderPluginInstance {
		return &tlsv3.CertificateProviderPluginInstance{InstanceName: resource.CertificateProvider}
	}
	return &tlsv3.CommonTlsContext{
		TlsCertificateProviderInstance: provider(),
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{
			ValidationContext: &tlsv3.CertificateValidationContext{CaCertificateProviderInstance: provider()},
		},
	}
}

func socket(context proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: tlsSocket, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(context)}}
}

func exactly(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}
}

func beginning(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: s}}
}

// Trust returns the TrustBundle that peers are verified against; none for nil.
func Trust(t *model.Trust) []Resource {
	if t == nil {
		return nil
	}
	m := &identityv1.TrustBundle{TrustDomain: t.Domain, Authorities: t.Authorities}
	if !t.RenewBefore.IsZero() {
		m.RenewBefore = timestamppb.New(t.RenewBefore)
	}
	return []Resource{{resource.TrustBundleType, t.Domain, m}}
}
