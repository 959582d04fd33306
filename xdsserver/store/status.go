package store

// A Status is how a store is.
type Status struct {
	// Problem is why the last write failed; empty when it did not. What was acknowledged
	// before is on disk in any case.
	Problem string
	// FreeBytes are those that are free for this user where the store is; zero where the
	// system does not say.
	FreeBytes uint64
}

// Status tells how the store is. It never waits for a writer.
func (s *Store) Status() Status {
	status := Status{FreeBytes: freeBytes(s.dir)}
	if p := s.problem.Load(); p != nil {
		status.Problem = *p
	}
	return status
}

// wrote remembers what became of a write.
func (s *Store) wrote(err error) {
	if err == nil {
		s.problem.Store(nil)
		return
	}
	text := err.Error()
	s.problem.Store(&text)
}
