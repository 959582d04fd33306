package admin

import (
	"context"
	"fmt"
	"os"
	"slices"
)

// A Right is what a caller of the API may do.
type Right string

// The rights. MayPayload is beside MayTap, and worth nothing without it.
const (
	// MayView is to see how the mesh stands.
	MayView Right = "view"
	// MayApply is to change the mesh.
	MayApply Right = "apply"
	// MayTap is to watch calls without their messages.
	MayTap Right = "tap"
	// MayPayload is to watch messages too.
	MayPayload Right = "payload"
)

// A Caller is who asks the API, as whoever let the request in attests.
type Caller struct {
	// Name is how the audit log calls it: "user 1000", "dashboard 3f2a".
	Name string
	// May are its rights. What the server as a whole does not allow, no caller may.
	May []Right
}

// Can reports whether the caller has a right.
func (c Caller) Can(r Right) bool { return slices.Contains(c.May, r) }

type callerKey struct{}

// WithCaller returns a context of requests of c. Who serves the API's methods by
// another way than [Server.Handler] sets it, for each request.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom returns who asks; ok is false where nobody said so, and whoever it is has
// no right that is checked.
func CallerFrom(ctx context.Context) (c Caller, ok bool) {
	c, ok = ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// localUser is a process of this user, or of root, by the kernel's word.
func localUser() Caller {
	return Caller{Name: fmt.Sprintf("user %d", os.Getuid()), May: []Right{MayView, MayApply, MayTap, MayPayload, mayLogin}}
}
