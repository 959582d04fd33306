package identity

import (
	"bytes"
	"context"
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// pollFiles is how often the files are looked at. A watch would be sooner, and
// would miss what some volumes do not report.
const pollFiles = 5 * time.Second

// Files is a [Provider] of what another program keeps fresh in a folder:
// cert-manager, Vault's agent, or `xdsserver identity fetch`.
//
//	svid.pem    the SVID and the intermediates above it, leaf first
//	key.pem     its private key, PKCS#8, SEC 1 or PKCS#1; not readable by everybody
//	bundle.pem  the roots of its trust domain
//
// The files are looked at every 5 seconds and taken when all three fit together, so
// that it does not matter in which order they are replaced. What does not fit is
// logged, and the last that did stays in use.
type Files struct {
	dir    string
	logger *slog.Logger

	mu  sync.Mutex
	err error
}

// NewFiles returns the provider of the identity in dir. A nil logger means
// slog.Default().
func NewFiles(dir string, logger *slog.Logger) *Files {
	if logger == nil {
		logger = slog.Default()
	}
	return &Files{dir: dir, logger: logger}
}

var _ Provider = (*Files)(nil)

// Run implements [Provider]. It waits for files that are not there yet.
func (f *Files) Run(ctx context.Context, publish func(*Identity)) error {
	ticker := time.NewTicker(pollFiles)
	defer ticker.Stop()
	var last fileSet
	var logged news
	for {
		set, err := f.read()
		var i *Identity
		if err == nil && !set.equal(&last) {
			i, err = set.identity()
		}
		f.note(err)
		if logged.differ(err) {
			f.logger.Warn("identity files ignored", "folder", f.dir, "error", err)
		}
		if i != nil {
			last = set
			publish(i)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Err returns what is wrong with the files at the moment; nil for nothing.
func (f *Files) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *Files) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// A fileSet is the content of the three files.
type fileSet struct{ svid, key, bundle []byte }

func (s *fileSet) equal(o *fileSet) bool {
	return bytes.Equal(s.svid, o.svid) && bytes.Equal(s.key, o.key) && bytes.Equal(s.bundle, o.bundle)
}

func (f *Files) read() (s fileSet, err error) {
	key := filepath.Join(f.dir, "key.pem")
	info, err := os.Stat(key)
	switch {
	case err != nil:
		return s, pathError(key, err)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0:
		return s, fmt.Errorf("%s: everybody may read it (mode %04o): chmod 600", key, info.Mode().Perm())
	}
	if s.key, err = readFile(key, maxState); err != nil {
		return s, err
	}
	if s.svid, err = readFile(filepath.Join(f.dir, "svid.pem"), maxState); err != nil {
		return s, err
	}
	s.bundle, err = readFile(filepath.Join(f.dir, "bundle.pem"), maxState)
	return s, err
}

// identity is what the three files are together.
func (s *fileSet) identity() (*Identity, error) {
	chain, err := parseCertificates(s.svid)
	if err != nil {
		return nil, fmt.Errorf("svid.pem: %w", err)
	}
	key, err := parsePEMKey(s.key)
	if err != nil {
		return nil, fmt.Errorf("key.pem: %w", err)
	}
	roots, err := parseCertificates(s.bundle)
	if err != nil {
		return nil, fmt.Errorf("bundle.pem: %w", err)
	}
	if len(chain[0].URIs) != 1 {
		return nil, errors.New("svid.pem: names no SPIFFE identity, or more than one")
	}
	id, err := spiffe.ParseID(chain[0].URIs[0].String())
	if err != nil {
		return nil, fmt.Errorf("svid.pem: %w", err)
	}
	bundle, err := spiffe.NewBundle(id.TrustDomain, roots)
	if err != nil {
		return nil, fmt.Errorf("bundle.pem: %w", err)
	}
	return newIdentity(chain, key, bundle)
}

// parsePEMKey reads the first private key. Other blocks, such as the parameters
// that openssl writes before it, are left out.
func parsePEMKey(b []byte) (crypto.Signer, error) {
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			return nil, errors.New("holds no private key in PEM")
		}
		b = rest
		switch block.Type {
		case typeKey, "EC PRIVATE KEY", "RSA PRIVATE KEY":
			return parseKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("its private key is encrypted, and nothing here knows the passphrase")
		}
	}
}
