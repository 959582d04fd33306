package manifest

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// number reads a whole number from least to most; it is least where the field is
// wrong and fallback where it is left out.
func (r *reader) number(v *value, name string, fallback, least, most uint32) uint32 {
	f := v.get(name)
	if f == nil {
		return fallback
	}
	n, err := strconv.ParseUint(f.text, 10, 32)
	if err != nil || uint32(n) < least || uint32(n) > most {
		r.errorf(f.path, f.pos, "%.40s is out of range: write a whole number from %d to %d", f.text, least, most)
		return least
	}
	return uint32(n)
}

// durationForm holds the Gateway API's durations (GEP-2257), and decimals.
var durationForm = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|h|m|s))+$`)

// duration reads a duration of whole milliseconds; set says whether it is there.
func (r *reader) duration(v *value, name string) (d time.Duration, set bool) {
	f := v.get(name)
	if f == nil {
		return 0, false
	}
	d, err := time.ParseDuration(f.text)
	switch {
	case !durationForm.MatchString(f.text) || err != nil:
		r.errorf(f.path, f.pos, "%.40q is no duration: write one of h, m, s and ms, as in 300ms, 2s or 1m30s", f.text)
	case d%time.Millisecond != 0:
		r.errorf(f.path, f.pos, "%.40q is finer than a millisecond: write whole milliseconds", f.text)
	}
	return d, true
}

// formatDuration writes a duration as GEP-2257 has it: "1m30s", "1s500ms".
func formatDuration(d time.Duration) string {
	switch {
	case d == 0:
		return "0s"
	case d < 0 || d%time.Millisecond != 0:
		return d.String() // no manifest can say it, and Parse refuses it
	}
	var b strings.Builder
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if n := int64(d / unit.of); n > 0 {
			b.WriteString(strconv.FormatInt(n, 10) + unit.name)
			d %= unit.of
		}
	}
	return b.String()
}

// within checks a number against the bounds of its field.
func (r *reader) within(v *value, f *field) bool {
	from, to := f.bounds()
	n, err := strconv.ParseFloat(v.text, 64)
	if err == nil && n >= from && n <= to {
		return true
	}
	what := ""
	if f.form == integer {
		what = "a whole number from "
	}
	r.errorf(v.path, v.pos, "%.40s is out of range: write %s%s to %s", v.text, what, formatDecimal(from), formatDecimal(to))
	return false
}

// whole reads a whole number that its shape bounds; it is zero where it is left out.
func (r *reader) whole(v *value, name string) uint32 {
	return r.number(v, name, 0, 0, math.MaxUint32)
}

// decimal reads a number; it is nil where it is left out.
func (r *reader) decimal(v *value, name string) *float64 {
	f := v.get(name)
	if f == nil {
		return nil
	}
	n, err := strconv.ParseFloat(f.text, 64)
	if err != nil {
		return nil // its bounds are checked, so it is none that is here
	}
	return &n
}

// fraction reads a number of which zero says nothing.
func (r *reader) fraction(v *value, name string) float64 {
	if n := r.decimal(v, name); n != nil {
		return *n
	}
	return 0
}

func formatDecimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func (v *value) flag(name string) bool { return v.textOf(name) == "true" }

// period reads a duration of which zero would say that it is left out.
func (r *reader) period(v *value, name string) time.Duration {
	d, set := r.duration(v, name)
	if f := v.get(name); set && d == 0 && durationForm.MatchString(f.text) {
		r.errorf(f.path, f.pos, "%.40s is no time: write a duration above it, or remove it", f.text)
	}
	return d
}

// share reads a percentage as parts of a million.
func (r *reader) share(v *value) uint32 {
	f := v.get("percent")
	if f == nil {
		return 0
	}
	whole, fraction, _ := strings.Cut(f.text, ".")
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > 4 {
		r.errorf(f.path, f.pos, "%.40s is finer than 0.0001: round it", f.text)
		return 0
	}
	n, err := strconv.ParseUint(whole+fraction+strings.Repeat("0", 4-len(fraction)), 10, 32)
	if err != nil || n > 100_0000 {
		r.errorf(f.path, f.pos, "%.40s is out of range: write 0 to 100", f.text)
		return 0
	}
	return uint32(n)
}

// formatShare writes parts of a million as a percentage.
func formatShare(n uint32) string {
	return strconv.FormatFloat(float64(n)/10_000, 'f', -1, 64)
}

// codes are the names of gRPC's status codes that fail a call, by number.
var codes = [...]string{
	1: "cancelled", 2: "unknown", 3: "invalid-argument", 4: "deadline-exceeded", 5: "not-found",
	6: "already-exists", 7: "permission-denied", 8: "resource-exhausted", 9: "failed-precondition",
	10: "aborted", 11: "out-of-range", 12: "unimplemented", 13: "internal", 14: "unavailable",
	15: "data-loss", 16: "unauthenticated",
}

// code reads the name of a status code in any of the ways in use:
// resource-exhausted, RESOURCE_EXHAUSTED, ResourceExhausted. It is 0 for none.
func (r *reader) code(f *value) uint32 {
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(s))
	}
	for i, name := range codes {
		if name != "" && plain(name) == plain(f.text) {
			return uint32(i)
		}
	}
	// Other letter cases are as good, so they are no reason to guess.
	guess := strings.ReplaceAll(strings.ToLower(f.text), "_", "-")
	if near := model.Nearest(guess, codes[1:]); near != "" {
		r.errorf(f.path, f.pos, "%.40q is no gRPC status code that fails a call: did you mean %s?", f.text, near)
		return 0
	}
	r.errorf(f.path, f.pos, "%.40q is no gRPC status code that fails a call: write one of %s", f.text, strings.Join(codes[1:], ", "))
	return 0
}

// codeSet reads a list of the names of status codes.
func (r *reader) codeSet(v *value, name string) model.CodeSet {
	f := v.get(name)
	if f == nil {
		return 0
	}
	if len(f.list) == 0 {
		r.errorf(f.path, f.pos, "is empty: write a code, or remove it")
	}
	var set model.CodeSet
	for _, entry := range f.list {
		code := r.code(entry)
		if code != 0 && set.Has(code) {
			r.errorf(entry.path, entry.pos, "%s is written twice: remove one of them", codes[code])
		}
		set |= model.Codes(code) &^ 1
	}
	return set
}

// codes puts the names of status codes unless there are none.
func (m *mapping) codes(key string, set model.CodeSet) {
	list := set.List()
	names := make(sequence, 0, len(list))
	for _, code := range list {
		names = append(names, quote(codes[min(int(code), len(codes)-1)]))
	}
	m.list(key, names)
}

// duration puts a duration unless it is zero.
func (m *mapping) duration(key string, d time.Duration) {
	if d != 0 {
		m.raw(key, formatDuration(d))
	}
}

// decimal puts a number unless it is left out.
func (m *mapping) decimal(key string, n *float64) {
	if n != nil {
		m.raw(key, formatDecimal(*n))
	}
}

// fraction puts a number unless it is zero.
func (m *mapping) fraction(key string, n float64) {
	if n != 0 {
		m.raw(key, formatDecimal(n))
	}
}

// flag puts what is true.
func (m *mapping) flag(key string, is bool) {
	if is {
		m.raw(key, "true")
	}
}
