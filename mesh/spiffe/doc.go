// Package spiffe is how the mesh writes and checks identities: X.509-SVIDs of the
// SPIFFE standard, verified by go-spiffe and then held to the mesh's stricter rules.
//
// Every service of the mesh is
//
//	spiffe://TRUST-DOMAIN/ns/NAMESPACE/svc/NAME
//
// and xdsserver is spiffe://TRUST-DOMAIN/xdsserver, which no service can be. Where
// Consul's authority signs, both have Consul's form, see [Domain]. Both
// sides of every connection verify the other against a [Bundle]:
//
//	peer, err := bundle.Verify(state.PeerCertificates)
//	if err != nil {
//		return err // says what is wrong with the certificate
//	}
//	if peer.ID != spiffe.ServiceID(domain, "voting") { ... }
//
// The package neither issues certificates (xdsserver/identity) nor keeps any
// (mesh/identity). It makes no decision about what a peer may do.
package spiffe
