package resource

import (
	"crypto/x509"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
)

// DecodeTrustBundle decodes and validates the bytes of a TrustBundle message. The
// error is a *[DecodeError].
func DecodeTrustBundle(value []byte) (*TrustBundle, error) {
	var m identityv1.TrustBundle
	if err := unmarshalOwn(value, &m); err != nil {
		return nil, refuse(TrustBundleType, "", err)
	}
	t, err := decodeTrustBundle(&m)
	if err != nil {
		return nil, refuse(TrustBundleType, m.GetTrustDomain(), err)
	}
	return t, nil
}

func decodeTrustBundle(m *identityv1.TrustBundle) (*TrustBundle, error) {
	t := &TrustBundle{TrustDomain: m.GetTrustDomain()}
	if !trustDomainName(t.TrustDomain) {
		return nil, bad("trust_domain", "%.80q is no trust domain: want lower-case letters, digits, '.', '-' and '_'", t.TrustDomain)
	}
	if n := len(m.GetAuthorities()); n == 0 {
		return nil, bad("authorities", "are none: no peer could be verified")
	} else if n > maxAuthorities {
		return nil, bad("authorities", "are %d, at most %d are accepted", n, maxAuthorities)
	}
	for i, der := range m.GetAuthorities() {
		c, err := t.authority(der)
		if err != nil {
			return nil, at("authorities", i, err)
		}
		t.Authorities = append(t.Authorities, c)
	}
	if m.GetRenewBefore() != nil {
		if err := m.GetRenewBefore().CheckValid(); err != nil {
			return nil, bad("renew_before", "is no valid time")
		}
		t.RenewBefore = m.GetRenewBefore().AsTime()
	}
	return t, nil
}

func (t *TrustBundle) authority(der []byte) (*x509.Certificate, error) {
	if len(der) > maxCertificate {
		return nil, bad("", "has %d bytes, at most %d are accepted", len(der), maxCertificate)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, bad("", "is no certificate: %v", err)
	}
	// X.509-SVID standard, section 4.1 and 4.3. A version 1 root has no
	// constraints at all, and would let a leaf sign.
	if !c.IsCA || !c.BasicConstraintsValid || c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, bad("", "is no CA's: its owner could be taken for one")
	}
	for _, uri := range c.URIs {
		if uri.Scheme == "spiffe" && uri.Host != t.TrustDomain {
			return nil, bad("", "is of the trust domain %q, not %q", uri.Host, t.TrustDomain)
		}
	}
	return c, nil
}
