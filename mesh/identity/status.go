package identity

import "time"

// A Status is what a [Source] tells of itself. It is a copy.
type Status struct {
	// Identity is the current one, nil before the first.
	Identity *Identity
	// From says where it came from: "state file", "enrolment", "renewal" or
	// "provider"; empty before the first.
	From string
	// RenewAt is when the next renewal is due; zero with a Provider.
	RenewAt time.Time
	// Reached is when xdsserver last proved who it is to this process; zero for
	// never.
	Reached time.Time
	// Err is why the last attempt to get an identity failed; nil once one did not.
	Err error
	// Plaintext are callers without TLS, while permissive, the most recent first.
	Plaintext []PlaintextCaller
}

// A PlaintextCaller is a host whose connections to a permissive server had no TLS.
type PlaintextCaller struct {
	// Host is the caller's IP address, "other" for all that are too many to be
	// told apart.
	Host string
	// Connections counts them since the process started.
	Connections uint64
	// Last is when the last of them was made.
	Last time.Time
}
