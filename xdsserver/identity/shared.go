package identity

import "errors"

// Shared keeps the public state of an authority that several xdsservers have in
// common: state.json, certificates, requests for certificates and a sign of life of
// each xdsserver. Private keys are in the folder of the xdsserver that made them, and
// nothing written here is secret.
//
// Who may write to it is an administrator of the mesh, as one who may write to the
// folder of a single xdsserver is: what is there says which roots are trusted, and has
// the holder of a root's key sign intermediates. It is therefore kept under the prefix
// of the mesh, beside its access policies and join tokens, which give the same power.
// Who may only read it learns nothing that the mesh does not tell every client.
//
// An implementation is safe for concurrent use, and answers or fails within seconds.
// Names are made of lower case letters, digits, hyphens and one dot.
type Shared interface {
	// Read returns a value that the last write which was acknowledged left, and its
	// index; an error that is fs.ErrNotExist when there is none.
	Read(name string) (data []byte, index uint64, err error)
	// Write replaces a value that is at an index, zero for one that is not there, and
	// returns the new index. The error is ErrSharedConflict when it is not at that
	// index. After another error the write may have happened, or happen later.
	Write(name string, data []byte, index uint64) (uint64, error)
	// Remove returns nil when there is no such value.
	Remove(name string) error
	// List returns the names of all values.
	List() ([]string, error)
	// Where says where a value is, for people.
	Where(name string) string
}

// ErrSharedConflict is returned by Shared.Write when somebody else wrote first.
var ErrSharedConflict = errors.New("somebody else wrote meanwhile")

// unreachableError is that of a Shared that cannot be asked now.
type unreachableError struct{ error }

// Unwrap returns the cause.
func (e unreachableError) Unwrap() error { return e.error }

// passes reports whether an error is of the kind that time may mend.
func passes(err error) bool {
	return errors.As(err, &unreachableError{}) || errors.Is(err, ErrSharedConflict)
}
