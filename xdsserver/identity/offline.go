package identity

import (
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// An Export says how to take a root's key out of a CA's folder.
type Export struct {
	// Dir is the CA's folder, PassphraseFile that of its keys, if they have one.
	Dir, PassphraseFile string
	// Out is the file to write: certificate and private key, PEM. It must not exist.
	Out string
	// OutPassphraseFile holds the passphrase to encrypt the key in Out with; empty
	// writes it in the clear.
	OutPassphraseFile string
	// Remove takes the key out of Dir, when Out is safely written.
	Remove bool
}

// ExportRoot writes the active root's certificate and private key to a file that is
// to be kept elsewhere. A running xdsserver notices when the key is removed, within
// 10 seconds.
//
// Without the key everything works but rotation, so that it must come back (see
// Import) within half of an intermediate's life, 15 days by default.
func ExportRoot(e Export) error {
	if _, err := os.Lstat(e.Out); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("identity: export: %s is there already: name a file that is not", e.Out)
	}
	passphrase, err := readPassphrase(e.OutPassphraseFile)
	if err != nil {
		return err
	}
	return onFolder(e.Dir, e.PassphraseFile, func(files storage, keys *storedKeys, s *state) error {
		root := s.rootIn(Active).Name
		cert, err := readCertificate(files, root)
		if err != nil {
			return err
		}
		key, err := keys.Open(root)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("identity: export: the key of %s is not in %s: it was exported before", root, e.Dir)
		}
		if err != nil {
			return err
		}
		if !matches(cert, key) {
			return mismatch(files, root)
		}
		text, err := encodeKey(key.(*ecdsa.PrivateKey), passphrase)
		if err != nil {
			return fmt.Errorf("identity: export: %w", err)
		}
		if err := writePrivate(e.Out+".new", e.Out, append(encodeCertificate(cert), text...)); err != nil {
			return err
		}
		if err := syncDir(filepath.Dir(e.Out)); err != nil {
			return err
		}
		if e.Remove {
			return keys.Remove(root)
		}
		return nil
	})
}

// onFolder does something with a CA's folder under its lock.
func onFolder(dir, passphraseFile string, do func(storage, *storedKeys, *state) error) error {
	passphrase, err := readPassphrase(passphraseFile)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	files, err := openFolder(dir)
	if err != nil {
		return err
	}
	unlock, err := files.lock()
	if err != nil {
		return err
	}
	defer unlock()
	raw, err := files.read(stateFile)
	if err != nil {
		return err
	}
	s, err := decodeState(raw)
	if err == nil && s.Creating {
		err = errors.New("is of a CA whose making was interrupted: start xdsserver once")
	}
	if err != nil {
		return fmt.Errorf("identity: %s %w", files.path(stateFile), err)
	}
	return do(files, &storedKeys{files: files, passphrase: passphrase}, s)
}

// An ImportRequest says what to put into a CA's folder.
type ImportRequest struct {
	// Dir is the CA's folder, PassphraseFile that of its keys, if they have one.
	Dir, PassphraseFile string
	// Certificate is a PEM file with the root's certificate, or an intermediate's that
	// the root signed elsewhere. Empty when it is in Key's file, as ExportRoot wrote it.
	Certificate string
	// Key is a PEM file with the private key; required. KeyPassphraseFile holds
	// the passphrase it is encrypted with, if it is.
	Key, KeyPassphraseFile string
}

// Import puts back a root's key that was exported, or adds an intermediate that was
// signed elsewhere, which is then what leaves are issued from. A running xdsserver
// notices within 10 seconds. It returns what it imported, for people.
func Import(r ImportRequest) (string, error) {
	passphrase, err := readPassphrase(r.KeyPassphraseFile)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(r.Key)
	if err != nil {
		return "", fmt.Errorf("identity: import: %w", err)
	}
	key, err := decodeKey(text, passphrase)
	if err != nil {
		return "", fmt.Errorf("identity: import: %s %w", r.Key, err)
	}
	if r.Certificate != "" {
		if text, err = os.ReadFile(r.Certificate); err != nil {
			return "", fmt.Errorf("identity: import: %w", err)
		}
	} else {
		r.Certificate = r.Key
	}
	certs, err := decodeCertificates(text)
	if err != nil {
		return "", fmt.Errorf("identity: import: %s %w", r.Certificate, err)
	}
	if !matches(certs[0], key) {
		return "", fmt.Errorf("identity: import: the key in %s is not that of the certificate in %s", r.Key, r.Certificate)
	}
	var imported string
	err = onFolder(r.Dir, r.PassphraseFile, func(files storage, keys *storedKeys, s *state) error {
		imported, err = put(files, keys, s, certs[0], key)
		return err
	})
	return imported, err
}

// put stores a key whose certificate it is.
func put(files storage, keys *storedKeys, s *state, cert *x509.Certificate, key *ecdsa.PrivateKey) (string, error) {
	for _, r := range s.Roots {
		known, err := readCertificate(files, r.Name)
		if err != nil {
			return "", err
		}
		if known.Equal(cert) {
			return "the key of " + r.Name, keys.put(r.Name, key)
		}
	}
	root := s.rootIn(Active).Name
	issuer, err := readCertificate(files, root)
	if err != nil {
		return "", err
	}
	now := time.Now()
	if err := checkIntermediate(cert, issuer, now); err != nil {
		return "", fmt.Errorf("identity: import: the certificate %q %w", cert.Subject, err)
	}
	ch := &change{files: files, keys: keys, now: now, state: s}
	name := ch.name(Intermediate)
	if err := keys.put(name, key); err != nil {
		return "", err
	}
	if err := files.write(certFile(name), encodeCertificate(cert)); err != nil {
		return "", err
	}
	ch.putIntermediate(name, root, Prepared, cert)
	// Leaves live as long as a running xdsserver has them live; it corrects this when
	// it starts. Nothing is lost by a longer one.
	s.Intermediates[len(s.Intermediates)-1].LongestLeaf = s.active().LongestLeaf
	return "the " + name, files.write(stateFile, s.encode())
}

// checkIntermediate says why leaves cannot be issued from a certificate. The error
// continues a sentence.
func checkIntermediate(cert, root *x509.Certificate, now time.Time) error {
	switch {
	case !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("is no CA's")
	case cert.CheckSignatureFrom(root) != nil:
		return errors.New("was not signed by the active root")
	case now.Before(cert.NotBefore) || !now.Before(cert.NotAfter):
		return fmt.Errorf("is valid from %s to %s, and not now", cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339))
	case cert.NotAfter.After(root.NotAfter):
		return fmt.Errorf("outlives its root, which ends at %s", root.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}
