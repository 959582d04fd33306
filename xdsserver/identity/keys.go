package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/youmark/pkcs8"
)

// Keys is where the private keys of a CA come from: files, or one day a KMS. A
// Signer's key is ECDSA P-256. Names are those of the CA's certificates. An
// implementation is safe for concurrent use.
type Keys interface {
	// Create makes a key, and returns when it would survive a crash. A key of that
	// name that was made before is replaced.
	Create(name string) (crypto.Signer, error)
	// Open returns a key that was made before; an error that is fs.ErrNotExist
	// when it is not here (any more).
	Open(name string) (crypto.Signer, error)
	// Has says whether Open would find the key, at little cost.
	Has(name string) bool
	// Remove destroys a key; nil when there is none.
	Remove(name string) error
}

// The forms of a private key in PEM. Both are PKCS#8 (RFC 5958), which openssl reads.
const (
	pemKey          = "PRIVATE KEY"
	pemEncryptedKey = "ENCRYPTED PRIVATE KEY"
	pemCertificate  = "CERTIFICATE"
)

// encryption is how keys are encrypted: PBES2 with PBKDF2 and AES-256-CBC. 600,000
// iterations are what OWASP's Password Storage Cheat Sheet asks of SHA-256; one
// key takes a fifth of a second, at a start and at a rotation.
var encryption = &pkcs8.Opts{
	Cipher:  pkcs8.AES256CBC,
	KDFOpts: pkcs8.PBKDF2Opts{SaltSize: 16, IterationCount: 600_000, HMACHash: crypto.SHA256},
}

// storedKeys are Keys in the CA's own storage.
type storedKeys struct {
	files      storage
	passphrase []byte // nil: in the clear
}

var _ Keys = (*storedKeys)(nil)

// Create implements Keys.
func (k *storedKeys) Create(name string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("identity: key of %s: %w", name, err)
	}
	return key, k.put(name, key)
}

// put stores a key that was made elsewhere.
func (k *storedKeys) put(name string, key *ecdsa.PrivateKey) error {
	data, err := encodeKey(key, k.passphrase)
	if err != nil {
		return fmt.Errorf("identity: key of %s: %w", name, err)
	}
	return k.files.write(keyFile(name), data)
}

// Open implements Keys.
func (k *storedKeys) Open(name string) (crypto.Signer, error) {
	data, err := k.files.read(keyFile(name))
	if err != nil {
		return nil, err
	}
	key, err := decodeKey(data, k.passphrase)
	if err != nil {
		return nil, fmt.Errorf("identity: %s %w", k.files.path(keyFile(name)), err)
	}
	return key, nil
}

// Has implements Keys.
func (k *storedKeys) Has(name string) bool {
	_, err := k.files.read(keyFile(name))
	return !errors.Is(err, fs.ErrNotExist)
}

// Remove implements Keys.
func (k *storedKeys) Remove(name string) error { return k.files.remove(keyFile(name)) }

func encodeKey(key *ecdsa.PrivateKey, passphrase []byte) ([]byte, error) {
	kind, marshal := pemKey, func() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(key) }
	if passphrase != nil {
		kind, marshal = pemEncryptedKey, func() ([]byte, error) { return pkcs8.MarshalPrivateKey(key, passphrase, encryption) }
	}
	der, err := marshal()
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), nil
}

// decodeKey reads the first private key in data. Its error continues a sentence
// that begins with the file's name.
func decodeKey(data, passphrase []byte) (*ecdsa.PrivateKey, error) {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return nil, errors.New("holds no whole private key, it may be truncated: put it back from a backup")
		}
		switch block.Type {
		case pemKey, "EC PRIVATE KEY":
			if passphrase != nil {
				return nil, errors.New("is not encrypted, though there is a passphrase: " +
					"encrypt it with openssl pkcs8 -topk8 -v2 aes-256-cbc, or do without the passphrase file")
			}
			return parseKey(block)
		case pemEncryptedKey:
			if passphrase == nil {
				return nil, errors.New("is encrypted: name the file that holds its passphrase")
			}
			return decryptKey(block.Bytes, passphrase)
		}
		data = rest
	}
}

func parseKey(block *pem.Block) (*ecdsa.PrivateKey, error) {
	var parsed any
	var err error
	if block.Type == pemKey {
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	} else {
		parsed, err = x509.ParseECPrivateKey(block.Bytes) // SEC 1, as cert-manager writes it by default
	}
	if err != nil {
		return nil, errors.New("holds no private key that can be read, it may be damaged: put it back from a backup")
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("holds a private key of another kind than ECDSA P-256")
	}
	return key, nil
}

// readPassphrase reads the first line of a file; nil for no file. A file that others
// may read is refused; one that a group may read is not, and links are followed:
// systemd's credentials and Kubernetes' secrets come so.
func readPassphrase(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("identity: passphrase: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("identity: passphrase: every user has access to %s (mode %04o): run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("identity: passphrase: %w", err)
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		return nil, fmt.Errorf("identity: passphrase: the first line of %s is empty", path)
	}
	return line, nil
}

// matches reports whether a certificate is of a key.
func matches(cert *x509.Certificate, key crypto.Signer) bool {
	pub, ok := cert.PublicKey.(*ecdsa.PublicKey)
	return ok && pub.Equal(key.Public())
}
