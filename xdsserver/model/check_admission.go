package model

import (
	"fmt"
	"strings"
)

const (
	maxRateLimits = 32  // of one service: each is looked up for each call
	maxSelected   = 256 // methods, and callers, of one limit
)

func (c *checker) rate(field string, r Rate) {
	c.decimal(field+".requestsPerSecond", r.PerSecond, 0.001, most)
	c.number(field+".burst", r.Burst, 1, most)
}

func (c *checker) admission(a *Admission) {
	const field = "spec.admission"
	if a == nil {
		return
	}
	c.count(field+".rateLimits", len(a.RateLimits), maxRateLimits)
	names := make(map[string]int, len(a.RateLimits))
	for i, l := range a.RateLimits {
		at := fmt.Sprintf("%s.rateLimits[%d]", field, i)
		switch j, ok := names[l.Name]; {
		case l.Name == "":
			c.errorf(at+".name", "is empty: write a name, which errors and tables tell it by")
		case ok:
			c.errorf(at+".name", "%s is the name of rateLimits[%d] too: give each a name of its own", l.Name, j)
		}
		names[l.Name] = i
		c.rateLimit(at, l)
	}
	c.concurrency(field+".concurrency", a.Concurrency)
	if a.Fault != nil {
		if a.Fault.FromHeaders {
			c.errorf(field+".fault.fromHeaders", "is for the faults of routes, which callers ask for: remove it")
		}
		c.fault(field+".fault", *a.Fault)
		c.span(field+".fault.delay.duration", a.Fault.Delay, 0, day) // servers refuse more
	}
}

func (c *checker) rateLimit(field string, l RateLimit) {
	c.text(field+".name", l.Name)
	switch l.Per {
	case "", PerTotal, PerIdentity, PerMethod:
		if l.Key != "" {
			c.errorf(field+".key", "is for per: metadata: remove it")
		}
	case PerMetadata:
		if l.Key == "" {
			c.errorf(field+".key", "is missing: write the metadata whose values are counted apart")
		} else if err := CheckMetadata(MetadataMatch{Name: l.Key}); err != nil {
			c.errorf(field+".key", "%s", strings.TrimPrefix(err.Error(), "name "))
		}
	default:
		c.errorf(field+".per", "%.40q is nothing to count by: write total, identity, method or metadata", l.Per)
	}
	c.rate(field, l.Rate)
	c.count(field+".methods", len(l.Methods), maxSelected)
	for i, m := range l.Methods {
		if err := CheckMethod(m); err != nil {
			c.errorf(fmt.Sprintf("%s.methods[%d]", field, i), "%v", err)
		}
	}
	c.count(field+".callers", len(l.Callers), maxSelected)
	for i, p := range l.Callers {
		at := fmt.Sprintf("%s.callers[%d]", field, i)
		if err := CheckPrincipal(p); err != nil {
			c.errorf(at, "%v", err)
		} else if p.Kind != OfService && p.Kind != OfID {
			c.errorf(at, "is many callers, and a limit names each: write web, web.shop or a SPIFFE id, or leave callers out")
		}
	}
}

func (c *checker) concurrency(field string, l *Concurrency) {
	if l == nil {
		return
	}
	if !l.Adaptive {
		if l.Limit == 0 {
			c.errorf(field, "does nothing: write limit or adaptive: true, or remove it")
		}
		if l.Min != 0 || l.Max != 0 || l.Tolerance != 0 {
			c.errorf(field, "does not move, and says min, max or tolerance: write adaptive: true, or remove them")
		}
	}
	c.number(field+".limit", l.Limit, 1, most)
	c.number(field+".min", l.Min, 1, most)
	c.number(field+".max", l.Max, 1, most)
	if l.Tolerance != 0 {
		c.decimal(field+".tolerance", l.Tolerance, 1.001, 100)
	}
	first, least, greatest := l.Bounds()
	switch {
	case least > greatest:
		c.errorf(field+".max", "%d is below min, which is %d: write as much, or min lower", greatest, least)
	case first < least || first > greatest:
		c.errorf(field+".limit", "%d is the first limit, and not from min to max, %d to %d", first, least, greatest)
	}
}
