package cli

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tulle-mesh/tulle/mesh/identity"
)

// The files of an identity directory, as TULLE_IDENTITY_DIR and bootstrap name them.
const (
	certificateFile = "svid.pem"
	keyFile         = "key.pem"
	bundleFile      = "bundle.pem"
	// stateFile is what the command itself starts again from.
	stateFile = "identity.state"
)

// makePrivateDir makes a directory for a key, and refuses one that others write to.
func makePrivateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return unreadable(err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return unreadable(err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no directory", dir)
	}
	if mode := info.Mode().Perm(); mode&0o002 != 0 {
		return fmt.Errorf("%s can be written by everybody (mode %04o), who could put another key there: chmod 0700 it, or choose another", dir, mode)
	}
	return nil
}

// writeIdentity writes the three files, each whole or not at all. The roots come
// first and the certificate last: who reads in between finds a key that does not
// fit the certificate, keeps what it has, and reads again, as gRPC does.
func writeIdentity(dir string, i *identity.Identity) error {
	key, err := x509.MarshalPKCS8PrivateKey(i.Certificate.PrivateKey)
	if err != nil {
		return fmt.Errorf("encode the key of %s: %w", i.URI, err)
	}
	for _, f := range []struct {
		name string
		data []byte
		mode os.FileMode
	}{
		{bundleFile, encodePEM("CERTIFICATE", i.Bundle.DER()...), 0o644},
		{keyFile, encodePEM("PRIVATE KEY", key), 0o600},
		{certificateFile, encodePEM("CERTIFICATE", i.Certificate.Certificate...), 0o644},
	} {
		if err := replaceFile(filepath.Join(dir, f.name), f.data, f.mode); err != nil {
			return err
		}
	}
	return nil
}

func encodePEM(kind string, ders ...[]byte) []byte {
	var b bytes.Buffer
	for _, der := range ders {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return b.Bytes()
}

// replaceFile writes beside the file and renames: a reader sees the old or the new.
func replaceFile(path string, data []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return unreadable(err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = unreadable(err)
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
