package model

import (
	"strconv"
	"strings"
	"time"
)

const (
	// shortest and longest bound what is not for ever: less than a timer tells apart,
	// and longer than anybody waits for something to heal.
	shortest = time.Millisecond
	longest  = time.Hour
	// day is the longest of what is told apart from for ever; clients refuse more.
	day = 24 * time.Hour

	// most bounds counts of calls, and calls per second.
	most = 1_000_000
)

// span checks a duration that is zero where it is left out.
func (c *checker) span(field string, d, from, to time.Duration) {
	if d != 0 && (d < from || d > to) {
		c.errorf(field, "%s is out of range: write %s to %s", spell(d), spell(from), spell(to))
	}
}

// number checks a number that is zero where it is left out.
func (c *checker) number(field string, n, from, to uint32) {
	if n != 0 && (n < from || n > to) {
		c.errorf(field, "%d is out of range: write %d to %d", n, from, to)
	}
}

// decimal checks a number with a fraction.
func (c *checker) decimal(field string, f, from, to float64) {
	if !(f >= from && f <= to) { // so that NaN is in no range
		c.errorf(field, "%s is out of range: write %s to %s", digits(f), digits(from), digits(to))
	}
}

// orders checks that the one is not longer than the other.
func (c *checker) orders(least, greatest string, a, b time.Duration) {
	if a > b {
		c.errorf(greatest, "%s is shorter than %s, which is %s: make it as long, or %s shorter", spell(b), least, spell(a), least)
	}
}

// spell writes a duration as people do: 1m, not 1m0s.
func spell(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func digits(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
