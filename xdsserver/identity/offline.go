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
// Where several xdsservers share the authority, it is that of this one's folder, and
// another may have the key, too.
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
	return onFolder(e.Dir, e.PassphraseFile, nil, func(ch *change, keys *storedKeys) error {
		root := ch.state.rootIn(Active).Name
		cert, err := readCertificate(ch.files, root)
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
			return mismatch(ch.files, root)
		}
		text, err := encodeKey(key.(*ecdsa.PrivateKey), passphrase)
		if err != nil {
			return fmt.Errorf("identity: export: %w", err)
		}
		if err := WritePrivate(e.Out, append(encodeCertificate(cert), text...)); err != nil {
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

// onFolder does something with a CA's folder under its lock, and with what it shares,
// unless that is nil: then with the copy that the folder has.
func onFolder(dir, passphraseFile string, shared Shared, do func(*change, *storedKeys) error) error {
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
	ch := &change{files: files, keys: &storedKeys{files: files, passphrase: passphrase}, now: time.Now()}
	if shared != nil {
		ch.commons = &commons{shared: shared, local: files}
		ch.files = ch.commons
	}
	raw, index, err := readState(ch.files)
	if err != nil {
		return err
	}
	s, err := decodeState(raw)
	switch {
	case err != nil:
	case s.Creating:
		err = errors.New("is of a CA whose making was interrupted: start xdsserver once")
	case shared != nil && s.Authority == "":
		err = errors.New("is of an xdsserver that shares nothing: it belongs into a folder")
	}
	if err != nil {
		return fmt.Errorf("identity: %s %w", ch.files.path(stateFile), err)
	}
	ch.state, ch.index = s, index
	return do(ch, &storedKeys{files: files, passphrase: passphrase})
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
	// Shared and Replica are those of the Config where several xdsservers share the
	// authority. A root's key needs neither when this one was started once: it stays in
	// the folder. An intermediate needs both.
	Shared  Shared
	Replica string
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
	if r.Shared != nil && !validReplica(r.Replica) {
		return "", fmt.Errorf("identity: import: %.80q is no name of an xdsserver among several", r.Replica)
	}
	for try := 1; ; try++ {
		err = onFolder(r.Dir, r.PassphraseFile, r.Shared, func(ch *change, keys *storedKeys) error {
			imported, err = put(ch, r.Replica, keys, certs[0], key)
			return err
		})
		if !errors.Is(err, ErrSharedConflict) || try == triesMost {
			return imported, err
		}
	}
}

// put stores a key whose certificate it is.
func put(ch *change, replica string, keys *storedKeys, cert *x509.Certificate, key *ecdsa.PrivateKey) (string, error) {
	s := ch.state
	for _, r := range s.Roots {
		known, err := readCertificate(ch.files, r.Name)
		if err != nil {
			return "", err
		}
		if known.Equal(cert) {
			return "the key of " + r.Name, keys.put(r.Name, key)
		}
	}
	if s.Authority != "" && ch.commons == nil {
		return "", errors.New("identity: import: the certificate is of no root that is known here, and an intermediate " +
			"is to be known to all xdsservers that share the authority: say where they share it")
	}
	root := s.rootIn(Active).Name
	issuer, err := readCertificate(ch.files, root)
	if err != nil {
		return "", err
	}
	now := ch.now
	if err := checkIntermediate(cert, issuer, now); err != nil {
		return "", fmt.Errorf("identity: import: the certificate %q %w", cert.Subject, err)
	}
	if ch.commons != nil {
		ch.replica = replica
	}
	longest := duration(0)
	if a := s.active(ch.replica); a != nil {
		longest = a.LongestLeaf
	}
	name := ch.name(Intermediate)
	if err := keys.put(name, key); err != nil {
		return "", err
	}
	if err := ch.files.write(certFile(name), encodeCertificate(cert)); err != nil {
		return "", err
	}
	ch.putIntermediate(record{Name: name, Root: root, Phase: Prepared, Since: now.UTC(), Made: now.UTC(), NotAfter: cert.NotAfter})
	// Leaves live as long as a running xdsserver has them live; it corrects this when
	// it starts. Nothing is lost by a longer one.
	s.Intermediates[len(s.Intermediates)-1].LongestLeaf = longest
	if ch.commons != nil {
		s.Revision++
	}
	return "the " + name, writeState(ch.files, s.encode(), ch.index)
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
