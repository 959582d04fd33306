package resource

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
)

// A reading reads the numbers of one message. It keeps the first error, so that a
// message of a dozen numbers is read in a dozen lines. A number of zero, where it is
// not exact, and a duration that is missing, are not set.
type reading struct{ err error }

// fail keeps what is wrong with a field, see bad.
func (r *reading) fail(field, reason string, args ...any) {
	r.keep(bad(field, reason, args...))
}

// keep keeps err where it is the first; nil is none.
func (r *reading) keep(err error) {
	if r.err == nil {
		r.err = err
	}
}

// duration reads one of least to maxDuration. Where least is the shortest there
// is, it only says that the duration must be above zero.
func (r *reading) duration(field string, m *durationpb.Duration, unset, least time.Duration) time.Duration {
	if m == nil {
		return unset
	}
	d, err := duration(m)
	switch {
	case err != nil:
		r.keep(under(field, err))
	case d > maxDuration:
		r.fail(field, "is %v, at most %v is accepted", d, maxDuration)
	case d < least && least == aboveZero:
		r.fail(field, "must be above zero")
	case d < least:
		r.fail(field, "is %v, it must be at least %v", d, least)
	}
	return d
}

// aboveZero is the least of durations that may not be zero.
const aboveZero time.Duration = 1

// count reads a number of things.
func (r *reading) count(field string, v, unset, least, most uint32) uint32 {
	if v == 0 {
		return unset
	}
	if v < least || v > most {
		r.fail(field, "is %d, it must be %d to %d", v, least, most)
	}
	return v
}

// number reads one that may be a fraction.
func (r *reading) number(field string, v, unset, least, most float64) float64 {
	if v == 0 {
		return unset
	}
	if inside := v >= least && v <= most; !inside { // what is no number is not
		r.fail(field, "is %v, it must be %v to %v", v, least, most)
	}
	return v
}

// exact reads a number that may be zero.
func (r *reading) exact(field string, v *float64, unset, most float64) float64 {
	if v == nil {
		return unset
	}
	if inside := *v >= 0 && *v <= most; !inside { // what is no number is not
		r.fail(field, "is %v, it must be 0 to %v", *v, most)
	}
	return *v
}

// codes reads status codes of failures.
func (r *reading) codes(field string, list []uint32, unset CodeSet) CodeSet {
	if len(list) == 0 {
		return unset
	}
	for i, code := range list {
		if code == 0 || code > maxCode {
			r.keep(at(field, i, bad("", "%d is no status code of a failure: want 1 to %d", code, maxCode)))
			return unset
		}
	}
	return Codes(list...)
}

// length checks that a list is not too long.
func (r *reading) length(field string, n, most int) {
	if n > most {
		r.fail(field, "are %d, at most %d are accepted", n, most)
	}
}

// token reads the name of a header: an HTTP token in lower case (RFC 9110 section
// 5.6.2), as HTTP/2 and gRPC's metadata have them.
func (r *reading) token(field, name string) {
	switch {
	case name == "":
		r.fail(field, "is empty")
	case len(name) > maxHeaderName:
		r.fail(field, "has %d bytes, at most %d are accepted", len(name), maxHeaderName)
	case !isToken(name):
		r.fail(field, "%q is no name of a header: want lower-case letters, digits, '-', '_' and '.'", name)
	}
}

// isToken leaves out what RFC 9110 allows and gRPC's metadata has not.
func isToken(name string) bool {
	for i := range len(name) {
		switch b := name[i]; {
		case b >= 'a' && b <= 'z', b >= '0' && b <= '9', b == '-', b == '_', b == '.':
		default:
			return false
		}
	}
	return true
}
