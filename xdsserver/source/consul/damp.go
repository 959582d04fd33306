package consul

import (
	"fmt"
	"slices"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

const (
	// flapMost is how often an instance may go within flapWindow before it is damped.
	flapMost   = 3
	flapWindow = time.Minute
	// dampLeast and dampMost bound how long a damped instance must stay before it takes
	// calls again; the time doubles as long as it goes on.
	dampLeast, dampMost = 5 * time.Second, time.Minute
)

// A damper remembers which instances come and go.
type damper map[key]*flapper

type flapper struct {
	away []time.Time // when it went, within the window
	// wait is how long it must stay; zero while it is not damped.
	wait time.Duration
	// back is when it has stayed for long enough; in the past where it need not.
	back time.Time
}

// went is told that an instance is usable no more.
func (d damper) went(k key, now time.Time) {
	f := d[k]
	if f == nil {
		f = &flapper{}
		d[k] = f
	}
	f.forget(now)
	if len(f.away) == 0 {
		f.wait = 0
	}
	f.away = append(f.away, now)
	if len(f.away) > flapMost {
		f.wait = min(max(2*f.wait, dampLeast), dampMost)
	}
	f.back = time.Time{}
}

// came is told that an instance is usable again.
func (d damper) came(k key, now time.Time) {
	if f := d[k]; f != nil && f.wait > 0 {
		f.back = now.Add(f.wait)
	}
}

// damped reports whether an instance that is usable takes no calls yet.
func (d damper) damped(k key, now time.Time) bool {
	f := d[k]
	return f != nil && now.Before(f.back)
}

// forgive lets an instance take calls until it goes again.
func (d damper) forgive(k key) {
	if f := d[k]; f != nil {
		f.back = time.Time{}
	}
}

// next is when an instance has stayed for long enough; zero for none.
func (d damper) next(now time.Time) time.Time {
	next := time.Time{}
	for _, f := range d {
		if now.Before(f.back) {
			next = earlier(next, f.back)
		}
	}
	return next
}

// prune forgets who has been calm for the window.
func (d damper) prune(now time.Time) {
	for k, f := range d {
		if f.forget(now); len(f.away) == 0 && !now.Before(f.back) {
			delete(d, k)
		}
	}
}

func (f *flapper) forget(now time.Time) {
	f.away = slices.DeleteFunc(f.away, func(t time.Time) bool { return now.Sub(t) >= flapWindow })
}

// problem tells of a damped instance.
func (d damper) problem(k key) model.Problem {
	return model.Problem{
		Object: model.Ref{Kind: model.KindService, Namespace: k.service.Namespace, Name: k.service.Name},
		From:   Name, Field: "endpoints[" + k.instance + "]", Warning: true,
		Message: fmt.Sprintf("went from Consul, or turned critical, more than %d times in %v: it takes calls again when it has stayed for %v",
			flapMost, flapWindow, d[k].wait),
	}
}

// earlier returns the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
