package identity

import (
	"context"
	"log/slog"
	"time"
)

// Config configures a CA.
type Config struct {
	// Dir holds keys, certificates and state; it is made with mode 0700 when
	// missing. Empty keeps all in memory: the trust domain ends with the process.
	Dir string
	// TrustDomain is as in "example.org"; empty means "tulle.local". It cannot
	// change once the CA is made.
	TrustDomain string
	// PassphraseFile holds the passphrase of the private keys in its first line;
	// empty stores them in the clear, protected by file permissions only.
	PassphraseFile string
	// Keys is where private keys come from; nil means files in Dir, or memory.
	Keys Keys
	// LeafTTL is how long a certificate is valid; zero means 24 h. Processes renew
	// at half of it: lower limits what a stolen key is good for, and how long
	// the mesh lives without an xdsserver. At most half of IntermediateTTL.
	LeafTTL time.Duration
	// IntermediateTTL is how long an intermediate is valid; zero means 30 days. It
	// is replaced at half of it. At most half of RootTTL.
	IntermediateTTL time.Duration
	// RootTTL is how long a root is valid; zero means 10 years. It is replaced
	// four IntermediateTTL before its end, or at half of it if that is later.
	RootTTL time.Duration
	// Hosts are names and addresses in xdsserver's own certificate, beside
	// localhost, 127.0.0.1 and ::1: stock clients check them.
	Hosts []string
	// Acknowledged returns nil when every connected client has the Trust of a
	// generation, or a later one. Nil means that there are no clients.
	Acknowledged func(ctx context.Context, generation uint64) error
	// Logger is told of rotations; nil means slog.Default().
	Logger *slog.Logger
}
