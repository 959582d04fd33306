package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
)

// WorkloadConfig configures a Workload authority.
type WorkloadConfig struct {
	// Address is that of the Workload API, as in "unix:///run/spire/agent.sock";
	// empty means the environment's SPIFFE_ENDPOINT_SOCKET.
	Address string
	// TrustDomain is the one to expect, as in "example.org"; empty takes that of
	// xdsserver's own identity.
	TrustDomain string
	// Logger is told of changes; nil means slog.Default().
	Logger *slog.Logger
}

// Workload is the authority of a mesh whose identities all come from a SPIFFE
// Workload API, such as that of a SPIRE agent.
type Workload struct{}

var _ Authority = (*Workload)(nil)

// NewWorkload waits for the first identity and bundle until ctx ends. The caller
// closes the Workload.
func NewWorkload(context.Context, WorkloadConfig) (*Workload, error) {
	return nil, errors.New("identity: not there yet")
}

// Kind is "workload-api".
func (w *Workload) Kind() string { return "workload-api" }

// Trust implements Authority.
func (w *Workload) Trust() *Trust { return nil }

// Changed implements Authority.
func (w *Workload) Changed() <-chan struct{} { return nil }

// Issue returns a *NotIssuerError.
func (w *Workload) Issue(context.Context, Order) ([][]byte, error) { return nil, nil }

// Certificate implements Authority.
func (w *Workload) Certificate() *tls.Certificate { return nil }

// Status implements Authority.
func (w *Workload) Status() Status { return Status{} }

// Run implements Authority.
func (w *Workload) Run(context.Context) error { return nil }

// Close ends the connection to the Workload API.
func (w *Workload) Close() error { return nil }
