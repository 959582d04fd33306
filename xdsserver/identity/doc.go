// Package identity is the authority of the mesh: it signs the certificates that
// services prove themselves with, and says what they are verified against.
//
// Services need no certificate from elsewhere: the built-in [CA] makes a root, an
// intermediate and 24-hour leaves by itself, and replaces each in time, so that
// nothing it made can expire by neglect. [Files] signs with a CA that somebody else
// keeps in files (cert-manager, a Vault agent), and [Workload] leaves identities
// to a SPIFFE Workload API. All three are an [Authority]:
//
//	ca, err := identity.NewCA(identity.Config{Dir: dir, TrustDomain: "tulle.local"})
//	if err != nil {
//		return err // says which file, and what to do
//	}
//	server := grpc.NewServer(grpc.Creds(identity.NewCredentials(ca, logger)),
//		grpc.ChainUnaryInterceptor(unary), grpc.ChainStreamInterceptor(stream)) // of Interceptors
//	go ca.Run(ctx) // rotates
//	chain, err := ca.Issue(ctx, identity.Order{ID: "spiffe://tulle.local/ns/default/svc/voting", Key: key})
//
// Several xdsservers may have one CA: what is public is in a [Shared] store, and each
// keeps its private keys, see [Config]. Without that, one folder is all there is.
//
// It does not decide who may be whom: that is attestation's (xdsserver/enrol), and
// an [Order] is the result of one. It keeps no list of what it signed, and revokes
// nothing: leaves are short-lived, and access is denied per call.
package identity
