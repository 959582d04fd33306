package identity

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	stateFile = "state.json"
	// stateVersion is that of the file's form.
	stateVersion = 1
	// maxName and maxReplica bound names, in bytes: they become names of files.
	maxName, maxReplica = 128, 63
	// maxIntermediates bounds those of all xdsservers together; each has three in a
	// rotation of the root, and one otherwise.
	maxIntermediates = 2000
)

// state is what a CA knows beside its keys and certificates, and the one file
// whose replacement makes a change happen: others are written before, under names
// it does not hold yet, and removed after.
type state struct {
	Version     int    `json:"version"`
	TrustDomain string `json:"trustDomain"`
	// Creating says that the first root is being made: nothing was issued yet, so
	// that what is there may be made again.
	Creating bool `json:"creating,omitempty"`
	// Generation and RenewBefore are those of Trust.
	Generation  uint64    `json:"generation"`
	RenewBefore time.Time `json:"renewBefore,omitzero"`
	// MadeRoots and MadeIntermediates count; names come from them.
	MadeRoots         int      `json:"madeRoots"`
	MadeIntermediates int      `json:"madeIntermediates"`
	Roots             []record `json:"roots"`
	Intermediates     []record `json:"intermediates"`
	// Authority tells one that several xdsservers share from every other; empty for
	// one that is a folder's own. Revision counts the writes of its state, so that a
	// store which lost some is noticed.
	Authority string `json:"authority,omitempty"`
	Revision  uint64 `json:"revision,omitempty"`
}

// record is one CA certificate.
type record struct {
	// Name is that of its files, without their endings.
	Name string `json:"name"`
	// Root is the name of the root that signed an intermediate.
	Root string `json:"root,omitempty"`
	// Replica is the xdsserver that has the key of an intermediate; empty for the
	// folder's own.
	Replica string `json:"replica,omitempty"`
	Phase   Phase  `json:"phase"`
	// Since is when it entered its phase.
	Since time.Time `json:"since"`
	// Until is when the last leaf of a retiring intermediate has expired.
	Until time.Time `json:"until,omitzero"`
	// Stopped says that its replica knows that it is to issue nothing more from it.
	// Before, it may do so to the end of the intermediate.
	Stopped bool `json:"stopped,omitempty"`
	// Made and NotAfter bound its life; the certificate says the same.
	Made     time.Time `json:"made"`
	NotAfter time.Time `json:"notAfter"`
	// Generation is that of the first Trust which holds a root.
	Generation uint64 `json:"generation,omitempty"`
	// LongestLeaf is the longest life of a leaf that an intermediate may have issued.
	LongestLeaf duration `json:"longestLeaf,omitempty"`
}

// duration is written as people write one.
type duration time.Duration

// MarshalText writes "24h0m0s".
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration does.
func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = duration(v)
	return err
}

func (s *state) encode() []byte {
	data, _ := json.MarshalIndent(s, "", "  ") //nolint:errchkjson // times are of this machine's clock, in years of four digits
	return append(data, '\n')
}

// decodeState reads a state. Its error continues a sentence that begins with the
// file's name.
func decodeState(data []byte) (*state, error) {
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("cannot be read, it may be truncated: put it back from a backup: %w", err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("is of version %d, this xdsserver knows %d: run the one that wrote it", s.Version, stateVersion)
	}
	if !s.Creating {
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("contradicts itself: %w: put it back from a backup", err)
		}
	}
	return &s, nil
}

func (s *state) check() error {
	if n := len(s.inPhase(s.Roots, Active)); n != 1 {
		return fmt.Errorf("%d roots are active, want 1", n)
	}
	for _, p := range []Phase{Prepared, Retiring} {
		if n := len(s.inPhase(s.Roots, p)); n > 1 {
			return fmt.Errorf("%d roots are %s, want 1 at most", n, p)
		}
	}
	names := map[string]bool{}
	for _, r := range slices.Concat(s.Roots, s.Intermediates) {
		requested := r.Phase == Requested && r.Replica != ""
		switch {
		case !validName(r.Name):
			return fmt.Errorf("%q is no name of a certificate", r.Name)
		case names[r.Name]:
			return fmt.Errorf("%s is there twice", r.Name)
		case r.Phase != Prepared && r.Phase != Active && r.Phase != Retiring && !requested:
			return fmt.Errorf("%s has the phase %q, which there is not", r.Name, r.Phase)
		}
		names[r.Name] = true
	}
	for _, r := range s.Intermediates {
		if s.root(r.Root) == nil {
			return fmt.Errorf("%s is of a root %q, which there is not", r.Name, r.Root)
		}
	}
	if s.Authority != "" {
		return s.checkReplicas()
	}
	if i := slices.IndexFunc(s.Intermediates, func(r record) bool { return r.Replica != "" }); i >= 0 {
		return fmt.Errorf("%s is of a replica, and the authority of none", s.Intermediates[i].Name)
	}
	if n := len(s.inPhase(s.Intermediates, Active)); n != 1 {
		return fmt.Errorf("%d intermediates are active, want 1", n)
	}
	if r := s.rootIn(Prepared); r != nil && s.of(r.Name, Prepared, "") == nil {
		return fmt.Errorf("%s is prepared without an intermediate", r.Name)
	}
	return nil
}

// checkReplicas checks what is so of a state that several xdsservers share: each has
// one active intermediate at most, and may have none.
func (s *state) checkReplicas() error {
	if n := len(s.Intermediates); n > maxIntermediates {
		return fmt.Errorf("it has %d intermediates, want %d at most", n, maxIntermediates)
	}
	active := map[string]bool{}
	for _, r := range s.Intermediates {
		if !validReplica(r.Replica) {
			return fmt.Errorf("%s is of the replica %.80q, which is no name of one", r.Name, r.Replica)
		}
		if r.Phase == Active {
			if active[r.Replica] {
				return fmt.Errorf("the replica %s has two active intermediates, want 1", r.Replica)
			}
			active[r.Replica] = true
		}
	}
	return nil
}

// validName keeps a state from naming files elsewhere.
func validName(name string) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return name != "" && len(name) <= maxName
}

// validReplica reports whether a name can be that of an xdsserver among several.
func validReplica(id string) bool { return validName(id) && len(id) <= maxReplica }

func (*state) inPhase(of []record, p Phase) []*record {
	var in []*record
	for i := range of {
		if of[i].Phase == p {
			in = append(in, &of[i])
		}
	}
	return in
}

// rootIn returns the root in a phase, nil when there is none; each phase has one
// at most.
func (s *state) rootIn(p Phase) *record {
	if in := s.inPhase(s.Roots, p); len(in) > 0 {
		return in[0]
	}
	return nil
}

func (s *state) root(name string) *record {
	for i := range s.Roots {
		if s.Roots[i].Name == name {
			return &s.Roots[i]
		}
	}
	return nil
}

// of returns a replica's intermediate of a root in a phase that was made last; nil
// when there is none.
func (s *state) of(root string, p Phase, replica string) *record {
	for _, r := range slices.Backward(s.inPhase(s.Intermediates, p)) {
		if r.Root == root && r.Replica == replica {
			return r
		}
	}
	return nil
}

// active returns the intermediate that a replica issues leaves from. It may have
// expired while the root's key was away. It is nil only where an authority is shared.
func (s *state) active(replica string) *record {
	for _, r := range s.inPhase(s.Intermediates, Active) {
		if r.Replica == replica {
			return r
		}
	}
	return nil
}

// owned returns the intermediates of a replica.
func (s *state) owned(replica string) []*record {
	var own []*record
	for i := range s.Intermediates {
		if r := &s.Intermediates[i]; r.Replica == replica {
			own = append(own, r)
		}
	}
	return own
}

// newName names a certificate after its level: "root", then "root-2"; with a replica
// "root-1-east", so that two replicas never give one name.
func (s *state) newName(l Level, replica string) string {
	made := &s.MadeRoots
	if l == Intermediate {
		made = &s.MadeIntermediates
	}
	*made++
	if replica != "" {
		return l.String() + "-" + strconv.Itoa(*made) + "-" + replica
	}
	return nameOf(l, *made)
}

func nameOf(l Level, n int) string {
	if n == 1 {
		return l.String()
	}
	return l.String() + "-" + strconv.Itoa(n)
}

// parseName takes a name apart that newName gave.
func parseName(name string) (l Level, n int, replica string, ok bool) {
	level, rest, numbered := strings.Cut(name, "-")
	switch level {
	case Root.String():
		l = Root
	case Intermediate.String():
		l = Intermediate
	default:
		return 0, 0, "", false
	}
	if !numbered {
		return l, 1, "", true
	}
	number, replica, shared := strings.Cut(rest, "-")
	n, err := strconv.Atoi(number)
	// One of a folder's own has no number 1, and no other form than nameOf gives it.
	ok = err == nil && n > 0 && strconv.Itoa(n) == number && (shared || n > 1) && shared == (replica != "")
	return l, n, replica, ok
}

// names reports whether a certificate is of the state.
func (s *state) names(name string) bool {
	is := func(r record) bool { return r.Name == name }
	return slices.ContainsFunc(s.Roots, is) || slices.ContainsFunc(s.Intermediates, is)
}

// over reports whether a name was given and is not used any more, so that what is
// stored under it is of no use: no state that comes after this one can name it.
func (s *state) over(name string) bool {
	l, n, _, ok := parseName(name)
	if !ok || n > map[Level]int{Root: s.MadeRoots, Intermediate: s.MadeIntermediates}[l] {
		return false
	}
	return !s.names(name)
}
