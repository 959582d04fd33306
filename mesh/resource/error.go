package resource

import (
	"errors"
	"fmt"
	"strings"
)

// A DecodeError says why a resource is refused. It is what a client returns to
// the control plane with its NACK.
type DecodeError struct {
	// Type is the resource's type URL.
	Type string
	// Name is the resource's name; empty where it has none or its bytes are no
	// such message.
	Name string
	// Field is the path of the field that is at fault, as in
	// "virtual_hosts[0].routes[2].match"; empty where it is the resource itself.
	Field string
	// Reason says what is wrong with it, and what to do where that can be said.
	Reason string
}

var _ error = (*DecodeError)(nil)

// Error returns one sentence, as in
//
//	RouteConfiguration "voting": virtual_hosts[0].routes[2].match: has no path specifier
func (e *DecodeError) Error() string {
	var b strings.Builder
	b.WriteString(e.Type[strings.LastIndexByte(e.Type, '.')+1:])
	if e.Name != "" {
		fmt.Fprintf(&b, " %q", e.Name)
	}
	b.WriteString(": ")
	if e.Field != "" {
		b.WriteString(e.Field)
		b.WriteString(": ")
	}
	b.WriteString(e.Reason)
	return b.String()
}

// fieldError is a DecodeError in the making: on its way up each message puts
// its own field before the path.
type fieldError struct{ path, reason string }

func (e *fieldError) Error() string { return e.path + ": " + e.reason }

// bad says what is wrong with a field of the message at hand; an empty field
// means the message itself.
func bad(field, reason string, args ...any) error {
	return &fieldError{path: field, reason: fmt.Sprintf(reason, args...)}
}

// under puts field before the path of err; nil stays nil.
func under(field string, err error) error {
	if err == nil {
		return nil
	}
	f, ok := errors.AsType[*fieldError](err)
	if !ok {
		return &fieldError{path: field, reason: err.Error()}
	}
	if f.path == "" {
		return &fieldError{path: field, reason: f.reason}
	}
	if f.path[0] == '[' {
		return &fieldError{path: field + f.path, reason: f.reason}
	}
	return &fieldError{path: field + "." + f.path, reason: f.reason}
}

// at is under for an element of a list.
func at(field string, i int, err error) error {
	if err == nil {
		return nil
	}
	return under(fmt.Sprintf("%s[%d]", field, i), err)
}

// refuse makes err the reason why a resource is refused.
func refuse(typeURL, name string, err error) *DecodeError {
	if f, ok := errors.AsType[*fieldError](err); ok {
		return &DecodeError{Type: typeURL, Name: name, Field: f.path, Reason: f.reason}
	}
	return &DecodeError{Type: typeURL, Name: name, Reason: err.Error()}
}
