package identity

import "errors"

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
// to be kept elsewhere. A running xdsserver notices when the key is removed.
//
// Without the key everything works but rotation, so that it must come back (see
// Import) within half of an intermediate's life, 15 days by default.
func ExportRoot(Export) error { return errors.New("identity: not there yet") }

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
func Import(ImportRequest) (string, error) { return "", errors.New("identity: not there yet") }
