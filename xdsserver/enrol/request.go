package enrol

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxRequest bounds a certificate request, in bytes; ours have about 200.
const maxRequest = 4 << 10

// A request is a certificate request of which the key is used.
type request struct {
	key  *ecdsa.PublicKey
	spki []byte
	csr  *x509.CertificateRequest
}

// parseRequest reads a PKCS#10 request and checks that who made it has the key.
// Keys of other kinds are refused before any signature is computed: an RSA key of
// 16 Kbit takes a second.
func parseRequest(der []byte) (*request, error) {
	if len(der) == 0 {
		return nil, status.Error(codes.InvalidArgument, "enrol: csr: is missing")
	}
	if len(der) > maxRequest {
		return nil, status.Errorf(codes.InvalidArgument, "enrol: csr: has %d bytes, %d are the most", len(der), maxRequest)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "enrol: csr: is no certificate request (PKCS#10, DER): %.200v", err)
	}
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, status.Errorf(codes.InvalidArgument, "enrol: csr: its key is %s, want ECDSA P-256", kindOf(csr))
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "enrol: csr: is not signed by its own key: %v", err)
	}
	return &request{key: key, spki: csr.RawSubjectPublicKeyInfo, csr: csr}, nil
}

func kindOf(csr *x509.CertificateRequest) string {
	if key, ok := csr.PublicKey.(*ecdsa.PublicKey); ok {
		return "ECDSA " + key.Params().Name
	}
	return csr.PublicKeyAlgorithm.String()
}

// names lists what the request asks for beside the identity that it gets; empty
// where that is nothing.
func (r *request) names(id string) string {
	var names []string
	add := func(kind, name string) { names = append(names, fmt.Sprintf("%s %.200q", kind, name)) }
	if subject := r.csr.Subject.String(); subject != "" {
		add("subject", subject)
	}
	for _, u := range r.csr.URIs {
		if u.String() != id {
			add("URI", u.String())
		}
	}
	for _, name := range r.csr.DNSNames {
		add("host", name)
	}
	for _, name := range r.csr.EmailAddresses {
		add("e-mail", name)
	}
	for _, ip := range r.csr.IPAddresses {
		add("address", ip.String())
	}
	known := len(r.csr.URIs) + len(r.csr.DNSNames) + len(r.csr.EmailAddresses) + len(r.csr.IPAddresses)
	for _, e := range r.csr.Extensions {
		if !e.Id.Equal(subjectAltName) {
			add("extension", e.Id.String()) // CA:TRUE, key usages
			continue
		}
		// Of the kinds of names that there are, crypto/x509 reads four.
		var all []asn1.RawValue
		if _, err := asn1.Unmarshal(e.Value, &all); err != nil || len(all) != known {
			names = append(names, "names of unknown kinds")
		}
	}
	const most = 8
	if more := len(names) - most; more > 0 {
		names = append(names[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

// subjectAltName is the extension that names are in (RFC 5280, section 4.2.1.6).
var subjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
