package model

// A CodeSet is a set of gRPC status codes, as bits: code n is 1<<n. What it means
// when it is empty is said where it is used.
type CodeSet uint32

// lastCode is the highest of gRPC's status codes, UNAUTHENTICATED.
const lastCode = 16

// Codes returns the set of some codes; those above 31 are left out.
func Codes(codes ...uint32) CodeSet {
	var s CodeSet
	for _, c := range codes {
		if c < 32 {
			s |= 1 << c
		}
	}
	return s
}

// Has reports whether the set has a code.
func (s CodeSet) Has(code uint32) bool { return code < 32 && s&(1<<code) != 0 }

// List returns the codes in order; nil for none.
func (s CodeSet) List() []uint32 {
	var list []uint32
	for code := range uint32(32) {
		if s.Has(code) {
			list = append(list, code)
		}
	}
	return list
}
