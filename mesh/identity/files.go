package identity

import (
	"context"
	"log/slog"
)

// Files is a [Provider] of what another program keeps fresh in a folder.
type Files struct {
	dir    string
	logger *slog.Logger
}

// NewFiles returns the provider of the identity in dir: svid.pem, key.pem and
// bundle.pem. A nil logger means slog.Default().
func NewFiles(dir string, logger *slog.Logger) *Files { return &Files{dir: dir, logger: logger} }

// Run implements [Provider].
func (f *Files) Run(ctx context.Context, publish func(*Identity)) error {
	<-ctx.Done()
	return ctx.Err()
}
