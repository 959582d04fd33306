package identity

import (
	"context"
	"crypto/tls"
	"errors"
)

// A CA is the built-in authority.
type CA struct{}

var _ Authority = (*CA)(nil)

// NewCA opens the CA in Config.Dir, or makes one where there is none.
func NewCA(Config) (*CA, error) { return nil, errors.New("identity: not there yet") }

// Kind is "built-in".
func (c *CA) Kind() string { return "built-in" }

// Trust implements Authority.
func (c *CA) Trust() *Trust { return nil }

// Changed implements Authority.
func (c *CA) Changed() <-chan struct{} { return nil }

// Issue implements Authority.
func (c *CA) Issue(context.Context, Order) ([][]byte, error) { return nil, nil }

// Certificate implements Authority.
func (c *CA) Certificate() *tls.Certificate { return nil }

// Status implements Authority.
func (c *CA) Status() Status { return Status{} }

// Run implements Authority.
func (c *CA) Run(context.Context) error { return nil }

// Rotate begins to replace the active root or intermediate; Run completes it. It
// returns when the new certificate is on disk, and refuses while a rotation of the
// same level is under way, or the key of the root is offline.
func (c *CA) Rotate(context.Context, Level) error { return nil }
