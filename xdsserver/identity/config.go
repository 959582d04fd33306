package identity

import (
	"cmp"
	"context"
	"crypto/elliptic"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
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

	// Shared has the public state where several xdsservers have one authority; nil
	// means that this is the only one. Dir is this one's own folder also then: it has
	// the private keys, and a copy of the state for a time without Shared. A trust
	// domain that is in Dir alone is brought into a Shared that has none.
	Shared Shared
	// Replica is the name of this xdsserver among them: lower case letters, digits and
	// hyphens, 63 at most, the same after each restart. Required with Shared.
	Replica string
	// Leads returns whether this replica may do the steps of the root now; nil means
	// always, which is safe, since every write is a check-and-set. Of the replicas whose
	// Status has RootOnline, one is to lead in the end: nobody else can sign. It is called
	// often and must not block.
	Leads func() bool
	// Wait is how long NewCA waits for the first intermediate of this replica where
	// another has to sign it; zero means 30 s.
	Wait time.Duration
}

// check fills in the defaults, and says which field is wrong.
func (c *Config) check() (pace, error) {
	p := pace{
		leaf:         cmp.Or(c.LeafTTL, 24*time.Hour),
		intermediate: cmp.Or(c.IntermediateTTL, 30*24*time.Hour),
		root:         cmp.Or(c.RootTTL, 3652*24*time.Hour),
	}
	if err := spiffe.CheckTrustDomain(c.TrustDomain); err != nil {
		return p, fmt.Errorf("identity: Config.TrustDomain: %w", err)
	}
	switch {
	case c.Shared != nil && !validReplica(c.Replica):
		return p, fmt.Errorf("identity: Config.Replica is %.80q, want a name of lower case letters, digits and hyphens, %d at most", c.Replica, maxReplica)
	case c.Wait < 0:
		return p, fmt.Errorf("identity: Config.Wait is %v, want none that is negative", c.Wait)
	case p.leaf < time.Second:
		return p, fmt.Errorf("identity: Config.LeafTTL is %v, want a second at least", p.leaf)
	case p.leaf > p.intermediate/2:
		return p, fmt.Errorf("identity: Config.LeafTTL is %v, want half of IntermediateTTL at most: %v", p.leaf, p.intermediate/2)
	case p.intermediate > p.root/2:
		return p, fmt.Errorf("identity: Config.IntermediateTTL is %v, want half of RootTTL at most: %v", p.intermediate, p.root/2)
	}
	return p, checkHosts(c.Hosts)
}

// checkHosts refuses what cannot stand in a certificate.
func checkHosts(hosts []string) error {
	for _, h := range hosts {
		h := normalHost(h)
		if net.ParseIP(h) == nil && !hostName.MatchString(h) {
			return fmt.Errorf("identity: host %.80q is neither an address nor a name: write it without scheme and port", h)
		}
	}
	return nil
}

// hostName is RFC 1123 section 2.1, with the underscore that some machines are
// named with, and what a wildcard certificate has before it.
var hostName = regexp.MustCompile(`^(\*\.)?[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?)*$`)

// normalHost writes a host as a certificate does: in lower case, and without the zone
// of an address, which means something on one machine only.
func normalHost(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.WithZone("").String()
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// allHosts are the hosts of xdsserver's own certificate, each once.
func allHosts(hosts []string) []string {
	all := slices.Concat([]string{"localhost", "127.0.0.1", "::1"}, hosts)
	for i, h := range all {
		all[i] = normalHost(h)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// check refuses an order that no attestation can have made.
func (o Order) check(domain string) error {
	id, err := spiffe.ParseID(o.ID)
	switch {
	case err != nil:
		return fmt.Errorf("identity: order: %w", err)
	case id.TrustDomain != domain:
		return fmt.Errorf("identity: order: %s is of trust domain %s, want %s", o.ID, id.TrustDomain, domain)
	case id.Service == "":
		return fmt.Errorf("identity: order: %s is the identity of no service", o.ID)
	case o.Key == nil || o.Key.Curve != elliptic.P256():
		return fmt.Errorf("identity: order: %s: the key is no ECDSA P-256", o.ID)
	}
	if _, err := o.Key.ECDH(); err != nil {
		return fmt.Errorf("identity: order: %s: the key is no point of its curve", o.ID)
	}
	return nil
}
