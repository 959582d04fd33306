package model

import (
	"regexp"
	"strings"
)

// A Method is what operators know of a method of a service, where its .proto file
// does not say it.
type Method struct {
	// Name is "/package.Service/Method".
	Name string
	// ClientStreaming is whether callers send a stream.
	ClientStreaming bool
	// Idempotent is whether a call may be made twice: where calls are retried, its
	// calls are too, also when they were sent.
	Idempotent bool
}

// Twice returns the names of the service's methods that are idempotent, where that
// counts for calls of the rule: nil where its retry says so of all, or nothing is
// retried or hedged.
func (s *Service) Twice(r *Rule) []string {
	retry, hedge := r.Retry, r.Hedge
	if retry == nil {
		retry = s.Retry
	}
	if hedge == nil {
		hedge = s.Hedge
	}
	if !retry.Retries() && !hedge.Hedges() || retry != nil && retry.Idempotent {
		return nil
	}
	var names []string
	for _, m := range s.Methods {
		if m.Idempotent {
			names = append(names, m.Name)
		}
	}
	return names
}

// Names reports whether m is for just one method, and names it as it is.
func (m Match) Names(method string) bool {
	service, name, ok := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return ok && !m.Regex && m.Service == service && m.Method == name
}

// Only returns m narrowed to each of the methods that it holds for, in their order.
// There are none where it is for just one method already.
func (m Match) Only(methods []string) []Match {
	if len(methods) == 0 || !m.expresses() && m.Service != "" && m.Method != "" {
		return nil
	}
	var expression *regexp.Regexp
	if m.expresses() {
		var err error
		if expression, err = regexp.Compile("^(?:" + m.PathRegex() + ")$"); err != nil {
			return nil // the checks refuse it
		}
	}
	var only []Match
	for _, method := range methods {
		service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
		holds := (m.Service == "" || m.Service == service) && (m.Method == "" || m.Method == name)
		if m.expresses() {
			holds = expression.MatchString(method)
		}
		if holds {
			only = append(only, Match{Service: service, Method: name, Headers: m.Headers})
		}
	}
	return only
}

// expresses reports whether m is for the methods of [Match.PathRegex], and not for those of
// its Service and Method as they are.
func (m Match) expresses() bool { return m.Regex || m.Path != nil }
