// Package enrol decides who a process is, and has the authority sign its key for
// that: the IdentityService of the mesh port.
//
//	s, err := enrol.New(enrol.Config{Authority: ca, Tokens: store, Socket: true, TokensAllowed: true, Audit: audit})
//	identityv1.RegisterIdentityServiceServer(server, s)
//	join, token, err := s.CreateToken(ctx, enrol.TokenRequest{Service: "payments", Address: "10.0.0.5:18000"})
//
// A process is what attests it, never what it asks to be. In this order: its own
// certificate (that is a renewal), a join token, an OIDC token of a trusted issuer,
// and the kernel's word that it runs on this machine as xdsserver's user. Only the
// last lets it choose its service, since whoever is that user can read the keys of
// all of them anyway. Of its certificate request the key is taken and nothing else.
//
// A token is redeemed on disk before anything is signed, for one key: whoever comes
// with the same token and another key is refused, whatever crashed in between. Every
// decision is a line in the audit log.
//
// The package signs nothing and keeps no certificates. Who may call whom is not its
// business.
package enrol
