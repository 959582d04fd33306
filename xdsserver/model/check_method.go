package model

import (
	"fmt"
	"slices"
	"strings"
)

const (
	maxKnownMethods = 64 // of one service
	// maxNarrowed bounds the routes that idempotent methods add to those of a route's
	// matches, for each service whose clients it applies to.
	maxNarrowed = 1000
)

// methods checks what is known of methods, and a retry that is for all of them.
func (c *checker) methods(s *Service) {
	c.count("spec.methods", len(s.Methods), maxKnownMethods)
	seen := make(map[string]int, len(s.Methods))
	for i, m := range s.Methods {
		field := fmt.Sprintf("spec.methods[%d]", i)
		if err := CheckMethod(m.Name); err != nil || strings.HasSuffix(m.Name, "*") {
			c.errorf(field+".name", "%.80q is no method: write /package.Service/Method", m.Name)
		}
		if j, ok := seen[m.Name]; ok {
			c.errorf(field+".name", "%s is written in methods[%d], too: keep one", m.Name, j)
		}
		seen[m.Name] = i
		if !m.ClientStreaming && !m.Idempotent {
			c.errorf(field, "says nothing of %.80s: write clientStreaming: true or idempotent: true, or remove it", m.Name)
		}
	}
	if s.Retry == nil || !s.Retry.promises() {
		return
	}
	if i := slices.IndexFunc(s.Methods, Method.oneWay); i >= 0 {
		c.errorf("spec.retry", "is for %s, too, %s: mark the method or the retry idempotent: true, or retry other methods by "+
			"rules of a GRPCRoute", s.Methods[i].Name, oneWay)
	}
}

const oneWay = "which takes a stream that may have had its effect when it fails, and is not marked idempotent"

// oneWay reports whether calls of the method cannot be retried once they were sent.
func (m Method) oneWay() bool { return m.ClientStreaming && !m.Idempotent }

// promises reports whether calls are retried only where that is known to be safe.
func (r *Retry) promises() bool { return r.Retries() && !r.Idempotent }

// knownMethods checks a route against what is known of its parents' methods.
func (v *validation) knownMethods(c *checker, r *Route) {
	for _, parent := range r.Parents {
		s := v.set.Services[parent]
		if s == nil || len(s.Methods) == 0 {
			continue
		}
		var methods []string
		for _, m := range s.Methods {
			if m.oneWay() {
				methods = append(methods, m.Name)
			}
		}
		narrowed := 0
		for i := range r.Rules {
			rule := &r.Rules[i]
			if rule.Retry != nil && rule.Retry.promises() {
				if method := rule.holdsForOneOf(r.leftFor(i, methods)); method != "" {
					c.errorf(fmt.Sprintf("spec.rules[%d].retry", i), "is for %s of %s, %s: mark the method or the retry idempotent: true, or give "+
						"the method a rule of its own with retry: {attempts: 1}", method, parent, oneWay)
				}
			}
			for _, m := range rule.matches() {
				narrowed += len(m.Only(s.Twice(rule)))
			}
			if narrowed > maxNarrowed {
				c.errorf("spec.rules", "comes to more than %d routes for methods of %s that are marked idempotent: mark the retries of rules "+
					"idempotent: true, or write fewer matches", maxNarrowed, parent)
				break
			}
		}
	}
}

// matches are the rule's; without any it has one that holds for every call.
func (r *Rule) matches() []Match {
	if len(r.Matches) == 0 {
		return []Match{{}}
	}
	return r.Matches
}

// leftFor are those of the methods for which no other rule than i is by name, and
// takes all their calls.
func (r *Route) leftFor(i int, methods []string) []string {
	return slices.DeleteFunc(slices.Clone(methods), func(method string) bool {
		for j := range r.Rules {
			if j == i {
				continue
			}
			for _, m := range r.Rules[j].Matches {
				if m.Names(method) && len(m.Headers) == 0 {
					return !r.Rules[i].names(method)
				}
			}
		}
		return false
	})
}

func (r *Rule) names(method string) bool {
	return slices.ContainsFunc(r.Matches, func(m Match) bool { return m.Names(method) })
}

// holdsForOneOf returns the first of the methods that the rule takes calls of, or "".
func (r *Rule) holdsForOneOf(methods []string) string {
	for _, m := range r.matches() {
		for _, method := range methods {
			if m.Names(method) {
				return method
			}
		}
		if only := m.Only(methods); len(only) > 0 {
			return "/" + only[0].Service + "/" + only[0].Method
		}
	}
	return ""
}
