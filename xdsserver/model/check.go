package model

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of what one object may hold. Each bounds what a client has to decode,
// keep and search per call; those of the Gateway API are at most as large.
const (
	maxParents  = 32
	maxRules    = 64
	maxOrdered  = 1000 // rules of a route that keeps its order, which a service has one of
	maxMatches  = 64   // of one rule
	maxHeaders  = 16   // of one match
	maxBackends = 16   // of one rule
	maxShares   = 256  // of one rule of a route that keeps its order

	maxAddresses = 16 // of one endpoint; clients of ours refuse more

	maxBackendWeight  = 1_000_000 // the Gateway API's
	maxEndpointWeight = 10_000
	perMillion        = 1_000_000

	// maxDuration is the longest that the Gateway API can write (GEP-2257), and
	// far below what overflows a timer.
	maxDuration = 100_000 * time.Hour

	maxAccessRules = 256  // of one list
	maxPrincipals  = 1000 // of one rule
	maxMethods     = 1000 // of one rule
	maxProtected   = 1000 // services of one policy

	maxText = 253 // of names that are free text: rules, zones, instances
)

// A checker collects the problems of one object.
type checker struct {
	ref      Ref
	from     string
	problems []Problem
	// ordered is for a route that keeps its order, which may match a header more than once.
	ordered bool
}

func (c *checker) errorf(field, format string, args ...any) {
	c.problems = append(c.problems, Problem{
		Object: c.ref, From: c.from, Field: field, Message: fmt.Sprintf(format, args...),
	})
}

func (c *checker) warnf(field, format string, args ...any) {
	c.errorf(field, format, args...)
	c.problems[len(c.problems)-1].Warning = true
}

// under puts field before the fields of the problems found since there were n.
// It spares building the names of fields that are good, of which there are many.
func (c *checker) under(n int, field string) {
	for i := range c.problems[n:] {
		c.problems[n+i].Field = field + c.problems[n+i].Field
	}
}

// name checks a reference's two labels and says whether they are good.
func (c *checker) name(field string, n ServiceName) bool {
	if CheckLabel(n.Name) == nil && CheckLabel(n.Namespace) == nil {
		return true
	}
	return c.label(field+".name", n.Name) && c.label(field+".namespace", n.Namespace)
}

func (c *checker) label(field, s string) bool {
	err := CheckLabel(s)
	if err != nil {
		c.errorf(field, "is no DNS label: %v", err)
	}
	return err == nil
}

func (c *checker) duration(field string, d time.Duration) {
	switch {
	case d < 0:
		c.errorf(field, "%v is negative: write 0s for none, or a duration above it", d)
	case d > maxDuration:
		c.errorf(field, "%v is longer than %v: write 0s for no limit", d, maxDuration)
	}
}

func (c *checker) count(field string, n, most int) {
	if n > most {
		c.errorf(field, "has %d entries, %d is the most: write fewer", n, most)
	}
}

// text checks free text that becomes part of a resource: protobuf takes no
// invalid UTF-8, and terminals should not be handed control characters.
func (c *checker) text(field, s string) {
	if why := badText(s); why != "" {
		c.errorf(field, "%s", why)
	}
}

func badText(s string) string {
	switch {
	case len(s) > maxText:
		return fmt.Sprintf("is %d bytes long, %d is the most", len(s), maxText)
	case !utf8.ValidString(s):
		return "is not UTF-8"
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Sprintf("%q holds a character that does not print: remove it", s)
	}
	return ""
}

// CheckVersion reports why s cannot be a version label: 1 to 63 of letters,
// digits, '-', '_' and '.', beginning and ending with a letter or digit, as
// Kubernetes has it for label values.
func CheckVersion(s string) error {
	alnum := func(c byte) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
	}
	switch {
	case s == "":
		return fmt.Errorf("version is empty")
	case len(s) > 63:
		return fmt.Errorf("version %.20q... is longer than 63 characters", s)
	case !alnum(s[0]) || !alnum(s[len(s)-1]):
		return fmt.Errorf("version %q must begin and end with a letter or digit", s)
	}
	for _, r := range s {
		if r > unicode.MaxASCII || !alnum(byte(r)) && !strings.ContainsRune("-_.", r) {
			return fmt.Errorf("version %q may hold only letters, digits, '-', '_' and '.', not %q", s, r)
		}
	}
	return nil
}
