package identity

import "crypto"

// Keys is where the private keys of a CA come from: files, or one day a KMS. A
// Signer's key is ECDSA P-256. Names are those of the CA's certificates.
type Keys interface {
	// Create makes a key, and returns when it would survive a crash. A key of that
	// name that was made before is replaced.
	Create(name string) (crypto.Signer, error)
	// Open returns a key that was made before; an error that is fs.ErrNotExist
	// when it is not here (any more).
	Open(name string) (crypto.Signer, error)
	// Remove destroys a key; nil when there is none.
	Remove(name string) error
}
