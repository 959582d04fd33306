package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
	"github.com/tulle-mesh/tulle/xdsserver/identity/connect"
)

// The authorities, as Config.CA has them.
const (
	caBuiltIn  = "built-in"
	caFiles    = "files:"
	caWorkload = "workload-api"
	caConsul   = "consul"
)

// DefaultTrustDomain is that of a mesh whose operator chose none.
const DefaultTrustDomain = "tulle.local"

// workloadWithin bounds the wait for the first answer of the Workload API, or of
// Consul's authority.
const workloadWithin = 30 * time.Second

// The files of an authority in a directory, as cert-manager names them.
const (
	tlsCertificate = "tls.crt"
	tlsKey         = "tls.key"
	tlsRoots       = "ca.crt"
)

// isWorkload reports whether identities come from a SPIFFE Workload API.
func isWorkload(ca string) bool { return ca == caWorkload || strings.HasPrefix(ca, caWorkload+":") }

// newAuthority opens the authority that the configuration names.
func (d *Daemon) newAuthority(c Config) (identity.Authority, error) {
	if err := spiffe.CheckTrustDomain(c.TrustDomain); err != nil {
		return nil, &ConfigError{Flag: "--trust-domain", Reason: err.Error()}
	}
	dir, isFiles := strings.CutPrefix(c.CA, caFiles)
	switch {
	case c.CA == caBuiltIn:
		return d.newBuiltIn(c)
	case isFiles && dir != "":
		return identity.NewFiles(identity.FilesConfig{
			TrustDomain: c.TrustDomain,
			Certificate: filepath.Join(dir, tlsCertificate),
			Key:         filepath.Join(dir, tlsKey),
			Bundle:      filepath.Join(dir, tlsRoots),
			LeafTTL:     c.LeafTTL,
			Hosts:       hosts(c),
			Logger:      c.Logger,
		})
	case isWorkload(c.CA):
		ctx, cancel := context.WithTimeout(context.Background(), workloadWithin)
		defer cancel()
		workload, err := identity.NewWorkload(ctx, identity.WorkloadConfig{
			Address:     strings.TrimPrefix(strings.TrimPrefix(c.CA, caWorkload), ":"),
			TrustDomain: c.TrustDomain,
			Logger:      c.Logger,
		})
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("--ca %s: no identity within %v: %w", c.CA, workloadWithin, err)
		}
		return workload, err
	}
	if c.CA == caConsul {
		return d.newConnect(c)
	}
	return nil, &ConfigError{Flag: "--ca", Reason: fmt.Sprintf("%q is no authority, want %s, %sDIR, %s[:ADDRESS] or %s",
		c.CA, caBuiltIn, caFiles, caWorkload, caConsul)}
}

// newBuiltIn opens the built-in authority. Several xdsservers over Consul have one.
func (d *Daemon) newBuiltIn(c Config) (identity.Authority, error) {
	config := identity.Config{
		Dir:             CADir(c.Data),
		TrustDomain:     c.TrustDomain,
		PassphraseFile:  c.CAPassphraseFile,
		LeafTTL:         c.LeafTTL,
		IntermediateTTL: c.IntermediateTTL,
		RootTTL:         c.RootTTL,
		Hosts:           hosts(c),
		Acknowledged:    d.trusted,
		Logger:          c.Logger,
	}
	if d.announcer != nil {
		config.Shared, config.Replica, config.Leads = sharedAuthority{client: d.consul}, d.replica, d.leads.Load
	}
	return identity.NewCA(config)
}

// newConnect opens Consul's authority.
func (d *Daemon) newConnect(c Config) (identity.Authority, error) {
	if d.consul == nil {
		return nil, &ConfigError{Flag: "--ca", Reason: "consul needs --consul, the address of an agent"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), workloadWithin)
	defer cancel()
	ca, err := connect.New(ctx, connect.Config{
		Client: d.consul, GRPC: c.ConsulGRPC, Hosts: hosts(c), File: filepath.Join(c.Data, connectFile), Logger: c.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("--ca %s: %w", c.CA, err)
	}
	return ca, nil
}

// connectFile keeps, in the data directory, what Consul's authority said and signed last.
const connectFile = "consul-authority.json"

// CADir is where the built-in authority keeps its certificates and keys.
func CADir(data string) string { return filepath.Join(data, "ca") }

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}
