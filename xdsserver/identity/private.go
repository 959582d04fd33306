package identity

// ReadPrivate reads a file that other users can neither read nor replace: one that they
// can is an error that says what to do.
func ReadPrivate(path string) ([]byte, error) { return readPrivate(path) }

// WritePrivate replaces a file by one of mode 0600. A crash leaves the one or the other,
// and maybe path with ".new" behind it, which the next write takes. One process at a time
// may write a path.
func WritePrivate(path string, data []byte) error { return writePrivate(path+".new", path, data) }
