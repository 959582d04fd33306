package manifest

import (
	"regexp"
	"strconv"
	"strings"
	"time"
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
	if d == 0 {
		return "0s"
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
// resource-exhausted, RESOURCE_EXHAUSTED, ResourceExhausted.
func (r *reader) code(v *value) uint32 {
	f := v.get("code")
	if f == nil {
		return 0
	}
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(s))
	}
	for i, name := range codes {
		if name != "" && plain(name) == plain(f.text) {
			return uint32(i)
		}
	}
	r.errorf(f.path, f.pos, "%.40q is no gRPC status code that fails a call: write one of %s", f.text, strings.Join(codes[1:], ", "))
	return 0
}
