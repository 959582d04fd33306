package identity

import "time"

// A Level is a rank of CA certificates.
type Level int

// The levels that rotate. Leaves do by themselves, each at its holder's.
const (
	Root Level = iota + 1
	Intermediate
)

// String is "root" or "intermediate".
func (l Level) String() string {
	switch l {
	case Root:
		return "root"
	case Intermediate:
		return "intermediate"
	}
	return "unknown"
}

// A Phase is where a CA certificate stands in its life.
type Phase string

// The phases, in order.
const (
	// Requested: asked for by an xdsserver that has not the root's key, not yet signed.
	Requested Phase = "requested"
	// Prepared: made, published where it is a root, not yet used.
	Prepared Phase = "prepared"
	// Active: what is issued comes from it.
	Active Phase = "active"
	// Retiring: nothing comes from it any more, but what did is still valid.
	Retiring Phase = "retiring"
)

// Status says how an Authority is, for people and checks.
type Status struct {
	// Kind is that of the Authority.
	Kind        string
	TrustDomain string
	// Roots are those in the bundle, Intermediates those whose leaves may be
	// valid; the active one first. Those of other replicas come after all of this one's.
	Roots, Intermediates []Certificate
	// Generation and RenewBefore are those of Trust.
	Generation  uint64
	RenewBefore time.Time
	// Rotation is the one under way; nil when none is.
	Rotation *Rotation
	// LeafTTL is how long certificates are issued for; zero when none are.
	LeafTTL time.Duration
	// Issued counts the certificates issued by this process.
	Issued uint64
	// RootOnline says whether intermediates can be made here: the key of the active
	// root is.
	RootOnline bool
	// IssuesUntil is when issuing ends unless an operator does something; zero
	// when it need not end.
	IssuesUntil time.Time
	// Problem is what is wrong, and what to do, in one sentence; empty when nothing is.
	Problem string
	// Replica is the name of this xdsserver among several; empty where the authority
	// is its own. Replicas are all that are known, by name, this one among them.
	Replica  string
	Replicas []Replica
	// Boundary says where the state is that they share, and who is trusted thereby.
	Boundary string
}

// A Replica is one of several xdsservers that share an authority.
type Replica struct {
	Name string
	// Live says whether it was heard of in the last minute.
	Live bool
	// Acknowledged is the latest generation of Trust that all its connected clients
	// have, as far as it was asked.
	Acknowledged uint64
	// RootOnline says whether it has the key of the active root.
	RootOnline bool
}

// A Certificate is a CA certificate in a Status.
type Certificate struct {
	// Name is that of its files, without their endings; for other authorities
	// than the CA, a subject.
	Name string
	// KeyID is the subject key identifier, Serial the serial number; both hexadecimal.
	KeyID, Serial       string
	NotBefore, NotAfter time.Time
	Phase               Phase
	// Since is when it entered its phase, Until when it will leave it; zero where
	// that is not known.
	Since, Until time.Time
	// Online says whether its private key is here.
	Online bool
	// Replica is the xdsserver whose intermediate it is; empty where the authority is
	// not shared, and for roots.
	Replica string
}

// A Rotation is one that is under way.
type Rotation struct {
	Level Level
	// Phase is that of the new certificate: Prepared while it waits for
	// acknowledgements, Active while the old one retires.
	Phase Phase
	// Since is when this phase began, Until when it ends at the latest.
	Since, Until time.Time
	// Waiting is what it waits for, in words.
	Waiting string
}
