package resource_test

import (
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc/resolver"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestNamesOfServersResourcesHaveAnOwner(t *testing.T) {
	for _, tt := range []struct{ name, service string }{
		{resource.ServerListener("voting.shop"), "voting.shop"},
		{resource.ServerListener("voting") + "/[::]:8080", "voting"},
		{"tulle/server/voting/", "voting"},
		{"tulle/server/", ""},
		{"tulle/server", ""},
		{"voting", ""},
		{"", ""},
		{"other/tulle/server/voting", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if service, ok := resource.Owner(tt.name); service != tt.service || ok != (tt.service != "") {
				t.Errorf("got %q, %v, want %q", service, ok, tt.service)
			}
		})
	}
}

func TestPeerIDsAreEqualByContent(t *testing.T) {
	address := func(ids ...string) resolver.Address {
		return resolver.Address{Addr: "10.0.0.1:80", Attributes: resource.WithPeerIDs(nil, ids)}
	}
	for _, tt := range []struct {
		name string
		a, b resolver.Address
		want bool
	}{
		{"the same", address(web, payment), address(web, payment), true},
		{"none", address(), address(), true},
		{"another", address(web), address(payment), false},
		{"one more", address(web), address(web, payment), false},
		{"none and nothing said", address(), resolver.Address{Addr: "10.0.0.1:80"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.a.Equal(tt.b) != tt.want || tt.b.Equal(tt.a) != tt.want {
				t.Errorf("want %v", tt.want)
			}
		})
	}
	attributes := resource.WithPeerIDs(resource.WithConfig(nil, &resource.Config{}), []string{web, payment})
	if got := resource.PeerIDsFrom(attributes); !slices.Equal(got, []string{web, payment}) {
		t.Errorf("got %v", got)
	}
	if got := attributes.String(); !strings.Contains(got, web+", "+payment) {
		t.Errorf("grpc's log does not name the peers: %s", got)
	}
	if resource.PeerIDsFrom(nil) != nil {
		t.Error("no attributes name peers")
	}
}

func secured(t testing.TB, tls *tlsv3.CommonTlsContext) func(*clusterv3.Cluster) {
	t.Helper()
	return func(m *clusterv3.Cluster) {
		m.TransportSocket = socket(t, &tlsv3.UpstreamTlsContext{CommonTlsContext: tls})
	}
}

func TestClustersSayWhoTheirEndpointsAre(t *testing.T) {
	c, err := resource.DecodeCluster(encode(t, cluster(secured(t, commonTLS(text(web), text(payment), text(web))))))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{web, payment}; !slices.Equal(c.PeerIDs, want) {
		t.Errorf("got %v, want %v", c.PeerIDs, want)
	}
	if c, err = resource.DecodeCluster(encode(t, cluster())); err != nil || c.PeerIDs != nil {
		t.Errorf("a cluster that names nobody has %v (%v)", c, err)
	}
}

func TestClustersWithOtherTransportSocketsAreRefused(t *testing.T) {
	changed := func(change func(*tlsv3.CommonTlsContext, *tlsv3.CertificateValidationContext)) func(*clusterv3.Cluster) {
		m := commonTLS(text(web))
		change(m, m.GetValidationContext())
		return secured(t, m)
	}
	const at = `Cluster "voting": transport_socket.typed_config.`
	const inCommon, inValidation = at + "common_tls_context.", at + "common_tls_context.validation_context."
	for _, tt := range []struct {
		name   string
		change func(*clusterv3.Cluster)
		want   string
	}{
		{"of another name", func(m *clusterv3.Cluster) {
			secured(t, commonTLS(text(web)))(m)
			m.TransportSocket.Name = "tls"
		}, `transport_socket.name: "tls" is not supported; use "envoy.transport_sockets.tls"`},
		{"of a server", func(m *clusterv3.Cluster) { m.TransportSocket = socket(t, downstream()) }, "must be the message UpstreamTlsContext"},
		{"of nothing", func(m *clusterv3.Cluster) {
			m.TransportSocket = &corev3.TransportSocket{Name: "envoy.transport_sockets.tls"}
		}, `transport_socket.typed_config: has the type ""`},
		{"that are no message", func(m *clusterv3.Cluster) {
			secured(t, commonTLS(text(web)))(m)
			m.TransportSocket.GetTypedConfig().Value = []byte{0xff}
		}, "transport_socket.typed_config: "},
		{"with SNI", func(m *clusterv3.Cluster) {
			m.TransportSocket = socket(t, &tlsv3.UpstreamTlsContext{CommonTlsContext: commonTLS(text(web)), Sni: "voting"})
		}, at + "sni: is not supported"},
		{"with no settings", secured(t, nil), at + "common_tls_context: is missing"},
		{"with TLS parameters", changed(func(m *tlsv3.CommonTlsContext, _ *tlsv3.CertificateValidationContext) {
			m.TlsParams = &tlsv3.TlsParameters{}
		}), inCommon + "tls_params: is not supported"},
		{"without an identity", changed(func(m *tlsv3.CommonTlsContext, _ *tlsv3.CertificateValidationContext) {
			m.TlsCertificateProviderInstance = nil
		}), inCommon + "tls_certificate_provider_instance: is missing"},
		{"with another's identity", changed(func(m *tlsv3.CommonTlsContext, _ *tlsv3.CertificateValidationContext) {
			m.GetTlsCertificateProviderInstance().InstanceName = "default"
		}), inCommon + `tls_certificate_provider_instance.instance_name: "default" is not known; there is "tulle"`},
		{"with one certificate of many", changed(func(m *tlsv3.CommonTlsContext, _ *tlsv3.CertificateValidationContext) {
			m.GetTlsCertificateProviderInstance().CertificateName = "x"
		}), inCommon + "tls_certificate_provider_instance.certificate_name: is not supported"},
		{"without validation", changed(func(m *tlsv3.CommonTlsContext, _ *tlsv3.CertificateValidationContext) {
			m.ValidationContextType = nil
		}), inCommon + "validation_context: is missing: any certificate would be accepted"},
		{"with combined validation", changed(func(m *tlsv3.CommonTlsContext, v *tlsv3.CertificateValidationContext) {
			m.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{
				CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{DefaultValidationContext: v},
			}
		}), inCommon + "combined_validation_context: is not supported"},
		{"without roots", changed(func(_ *tlsv3.CommonTlsContext, v *tlsv3.CertificateValidationContext) {
			v.CaCertificateProviderInstance = nil
		}), inValidation + "ca_certificate_provider_instance: is missing"},
		{"with the system's roots", changed(func(_ *tlsv3.CommonTlsContext, v *tlsv3.CertificateValidationContext) {
			v.SystemRootCerts = &tlsv3.CertificateValidationContext_SystemRootCerts{}
		}), inValidation + "system_root_certs: is not supported"},
		{"that accept anybody", secured(t, commonTLS()), inValidation + "match_subject_alt_names: is empty: any identity would be accepted"},
		{"that accept a prefix", secured(t, commonTLS(text(web), text("spiffe://tulle.local/*"))), inValidation + "match_subject_alt_names[1]: must be exact"},
		{"that accept a regex", secured(t, commonTLS(regex(".*"))), inValidation + "match_subject_alt_names[0].safe_regex: is not evaluated here"},
		{"that accept a suffix", secured(t, commonTLS(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: "web"}})), inValidation + "match_subject_alt_names[0].suffix"},
		{"that accept any case", secured(t, commonTLS(caseless(text(web)))), inValidation + "match_subject_alt_names[0].ignore_case"},
		{"that accept a host", secured(t, commonTLS(text("voting.example.org"))), inValidation + `match_subject_alt_names[0].exact: "voting.example.org" is no SPIFFE id`},
		{"that accept the empty name", secured(t, commonTLS(text(""))), `"" is no SPIFFE id`},
		{"that accept an id of 3,000 bytes", secured(t, commonTLS(text(web+strings.Repeat("x", 3_000)))), "at most 2048 are accepted"},
		{"that accept 101 ids", secured(t, commonTLS(slices.Repeat([]*matcherv3.StringMatcher{text(web)}, 101)...)), "are 101, at most 100 are accepted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantRefused(t, resource.ClusterType, cluster(tt.change), tt.want)
		})
	}
}
