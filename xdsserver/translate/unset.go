package translate

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// What equals the default is left out of resources, so that they stay small and the
// default is said in one place, by the decoder of package resource.

// unless returns n, or zero where it is the default.
func unless[T comparable](n, normal T) T {
	if n == normal {
		var unset T
		return unset
	}
	return n
}

// length returns d, or nil where it is the default; zero is left out, too.
func length(d, normal time.Duration) *durationpb.Duration {
	if d == 0 || d == normal {
		return nil
	}
	return durationpb.New(d)
}

// exactLength is length for a duration of which nil is left out, and zero is not.
func exactLength(d *time.Duration, normal time.Duration) *durationpb.Duration {
	if d == nil || *d == normal {
		return nil
	}
	return durationpb.New(*d)
}

// exactNumber returns n, or nil where it is left out or the default.
func exactNumber(n *float64, normal float64) *float64 {
	if n == nil || *n == normal {
		return nil
	}
	return n
}

// unlessEmpty returns m, or nil where nothing of it is.
func unlessEmpty[M proto.Message](m M) M {
	if proto.Size(m) == 0 {
		var unset M
		return unset
	}
	return m
}
