package tap

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// The defaults and bounds of a [Request].
const (
	DefaultRPS      = 100
	MaxRPS          = 1000
	DefaultDuration = 10 * time.Minute
	MaxDuration     = time.Hour

	maxConditions = 16
	maxText       = 512
)

// A Request asks for calls that processes of one service make or take.
type Request struct {
	Service model.ServiceName
	// Instance is one of its processes; empty is all.
	Instance string
	// To and From, Method, Metadata, Failures and Payload are as in model.Tap.
	To, From, Method  string
	Metadata          map[string]string
	Failures, Payload bool
	// MaxRPS is in calls per second for all processes, 1 to 1000; zero is 100.
	MaxRPS float64
	// Duration is at most 1 h; zero is 10 min.
	Duration time.Duration
	// By is who asks.
	By string
}

// A RequestError says what cannot be asked for.
type RequestError struct{ Field, Reason string }

// Error is one sentence.
func (e *RequestError) Error() string { return e.Field + " " + e.Reason }

// withDefaults fills in what was left out and checks the rest.
func (r Request) withDefaults() (Request, error) {
	r.MaxRPS, r.Duration = cmp.Or(r.MaxRPS, DefaultRPS), cmp.Or(r.Duration, DefaultDuration)
	switch {
	case math.IsNaN(r.MaxRPS) || r.MaxRPS < 1 || r.MaxRPS > MaxRPS:
		return r, &RequestError{"max_rps", fmt.Sprintf("is %v: want 1 to %d calls per second", r.MaxRPS, MaxRPS)}
	case r.Duration < time.Second || r.Duration > MaxDuration:
		return r, &RequestError{"duration", fmt.Sprintf("is %v: want 1s to %v", r.Duration, MaxDuration)}
	case len(r.Metadata) > maxConditions:
		return r, &RequestError{"metadata", fmt.Sprintf("has %d conditions: want at most %d", len(r.Metadata), maxConditions)}
	}
	var err error
	if r.To, err = canonical("to", r.To); err != nil {
		return r, err
	}
	if r.From, err = canonical("from", r.From); err != nil {
		return r, err
	}
	for _, text := range []struct{ field, value string }{{"instance", r.Instance}, {"method", r.Method}} {
		if bad(text.value) {
			return r, &RequestError{text.field, fmt.Sprintf("is %.80q: want at most %d bytes of plain text", text.value, maxText)}
		}
	}
	metadata := make(map[string]string, len(r.Metadata))
	for key, value := range r.Metadata {
		key = strings.ToLower(key)
		switch {
		case key == "" || bad(key) || bad(value):
			return r, &RequestError{"metadata", fmt.Sprintf("%.80q is no key with a value", key+"="+value)}
		case resource.SecretKey(key):
			return r, &RequestError{"metadata", fmt.Sprintf("%q is the key of a secret, by which calls are not found: name another", key)}
		}
		metadata[key] = value
	}
	r.Metadata = metadata
	return r, nil
}

// canonical is a service's name as processes know it, where it is no pattern.
func canonical(field, name string) (string, error) {
	if bad(name) {
		return "", &RequestError{field, fmt.Sprintf("is %.80q: want a service, or a pattern with *", name)}
	}
	if name == "" || strings.Contains(name, "*") {
		return name, nil
	}
	parsed, err := model.ParseServiceName(name)
	if err != nil {
		return "", &RequestError{field, fmt.Sprintf("names no service: %v", err)}
	}
	return parsed.String(), nil
}

// bad reports whether text is too long or could move a terminal's cursor.
func bad(s string) bool {
	return len(s) > maxText || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// String says in words which calls are asked for: "to voting, method Vote, 100/s".
func (r Request) String() string {
	var parts []string
	add := func(label, value string) {
		if value != "" {
			parts = append(parts, label+value)
		}
	}
	add("to ", r.To)
	add("from ", r.From)
	add("method ", cmp.Or(r.Method, "*"))
	for _, key := range slices.Sorted(maps.Keys(r.Metadata)) {
		add(key+"=", r.Metadata[key])
	}
	if r.Failures {
		parts = append(parts, "failures")
	}
	if r.Payload {
		parts = append(parts, "messages")
	}
	parts = append(parts, strconv.FormatFloat(r.MaxRPS, 'g', 4, 64)+"/s")
	return strings.Join(parts, ", ")
}

// ErrFull answers who asks for one tap too many.
var ErrFull = errors.New("too many taps are open")

// The ends of a watch.
var (
	errOver    = errors.New("the tap's time is over")
	errClosing = errors.New("xdsserver stops")
	// errSlow ends the watch of who does not read.
	errSlow = fmt.Errorf("nobody has read for %v while there was something to read", stalled)
)

// IsOver reports whether err, of [Watch.Next], is that the tap has ended as it should.
func IsOver(err error) bool { return errors.Is(err, errOver) }

func sortTaps(taps []model.Tap) {
	slices.SortFunc(taps, func(a, b model.Tap) int { return strings.Compare(a.ID, b.ID) })
}

func sortCommands(all []Command) {
	slices.SortFunc(all, func(a, b Command) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Kind, b.Kind), a.Until.Compare(b.Until), strings.Compare(a.What, b.What))
	})
}
