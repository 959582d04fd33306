package daemon

import "github.com/tulle-mesh/tulle/xdsserver/identity"

// An Export says how to take the root's key out of a data directory.
type Export struct {
	// Data is the data directory, PassphraseFile that of its keys, if they have one.
	Data, PassphraseFile string
	// Out is the file to write; it must not exist. OutPassphraseFile encrypts it;
	// empty leaves the key in it in the clear.
	Out, OutPassphraseFile string
	// Remove takes the key out of Data when Out is safely written.
	Remove bool
}

// ExportRoot writes the root's certificate and key to a file to be kept elsewhere.
// xdsserver may run meanwhile.
func ExportRoot(e Export) error {
	return identity.ExportRoot(identity.Export{
		Dir:               CADir(e.Data),
		PassphraseFile:    e.PassphraseFile,
		Out:               e.Out,
		OutPassphraseFile: e.OutPassphraseFile,
		Remove:            e.Remove,
	})
}

// An Import says what to put into a data directory.
type Import struct {
	// Data is the data directory, PassphraseFile that of its keys, if they have one.
	Data, PassphraseFile string
	// Certificate is a PEM file; empty when the certificate is in Key's file.
	Certificate string
	// Key is a PEM file with the private key, KeyPassphraseFile what it is
	// encrypted with, if it is.
	Key, KeyPassphraseFile string
}

// ImportCA puts a root's key back, or adds an intermediate that was signed
// elsewhere, and returns what it was, for people. xdsserver may run meanwhile.
func ImportCA(i Import) (string, error) {
	return identity.Import(identity.ImportRequest{
		Dir:               CADir(i.Data),
		PassphraseFile:    i.PassphraseFile,
		Certificate:       i.Certificate,
		Key:               i.Key,
		KeyPassphraseFile: i.KeyPassphraseFile,
	})
}
