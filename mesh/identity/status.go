package identity

import (
	"fmt"
	"time"
)

// A Status is what a [Source] tells of itself. It is a copy.
type Status struct {
	// Identity is the current one, nil before the first.
	Identity *Identity
	// From says where it came from: "state file", "enrolment", "renewal" or
	// "provider"; empty before the first.
	From string
	// RenewAt is when the next renewal is due; zero before the first identity, and
	// with a Provider.
	RenewAt time.Time
	// Reached is when xdsserver last proved to this process who it is; zero for
	// never.
	Reached time.Time
	// Err is why the last attempt to get an identity failed; nil once one did not.
	Err error
	// Plaintext are the callers without TLS that permissive servers let in, the
	// latest first; at most 1025.
	Plaintext []PlaintextCaller
}

// Status returns what the source does at the moment.
func (s *Source) Status() Status {
	st := Status{Identity: s.Current(), Err: s.why(), Plaintext: s.plaintext.list()}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.From, st.RenewAt, st.Reached = s.from, s.renewAt, s.reached
	return st
}

// checkOwn says why an identity cannot be used any more, and what became of the
// attempts to replace it.
func (s *Source) checkOwn(i *Identity, now time.Time) error {
	if !i.expired(now) {
		return nil
	}
	const form = time.RFC3339
	text := fmt.Sprintf("own certificate of %s expired at %s", i.URI, i.NotAfter.UTC().Format(form))
	why := s.why()
	if s.config.Provider == nil {
		s.mu.Lock()
		reached := s.reached
		s.mu.Unlock()
		if reached.IsZero() {
			text += ", xdsserver was never reached"
		} else {
			text += ", xdsserver was last reached " + reached.UTC().Format(form)
		}
	}
	if why == nil {
		return &ExpiredError{text: text}
	}
	return &ExpiredError{text: text + ": " + why.Error(), why: why}
}

// An ExpiredError says that the process's own certificate has expired, since when,
// and why there is no new one.
type ExpiredError struct {
	text string
	why  error
}

func (e *ExpiredError) Error() string { return e.text }

// Unwrap returns why there is no new certificate; it may be nil.
func (e *ExpiredError) Unwrap() error { return e.why }
