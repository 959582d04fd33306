package identity

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

const (
	// An identity is renewed at half its life, so that xdsserver may be away for
	// the other half; jitter keeps processes that started together apart. SPIRE has
	// the same numbers.
	renewAt     = 0.5
	renewJitter = 0.1
	// askedWithin is how soon after it was asked for a renewal happens, at the
	// latest, or lifeFraction of the life where that is shorter.
	askedWithin  = time.Minute
	lifeFraction = 10
	// retryRenewal is the longest pause after a failed renewal, or retryFraction of
	// the life.
	retryRenewal  = time.Minute
	retryFraction = 20
	// renewTimeout bounds one renewal, or timeoutFraction of the life.
	renewTimeout    = 20 * time.Second
	timeoutFraction = 4
	// retryEnrol is the longest pause after an attempt to enrol that came to nothing,
	// firstEnrol the longest after the first; each pause is drawn from zero on.
	firstEnrol = 250 * time.Millisecond
	retryEnrol = 3 * time.Second
	// retryRefused is the pause after a server said no: a person has to mend that.
	retryRefused = 15 * time.Second
)

// alarms are the parts of an identity's life that are left when a failing renewal
// is logged.
var alarms = []float64{0.5, 0.25, 0.1}

// A keeper gets the identity of a source and keeps it fresh. It is owned by the
// goroutine of run.
type keeper struct {
	source *Source
	conn   grpc.ClientConnInterface
	// known is the bundle of a predecessor.
	known *spiffe.Bundle
	// pending is the order that is placed and not answered.
	pending *order
	// failures counts attempts to enrol since the last success.
	failures int
	// alarmed counts the alarms of the current identity, one more once it expired.
	alarmed int
	// logged is the last failure that was logged.
	logged news
	// anew is when the process may enrol again although it has an identity.
	anew time.Time
}

func newKeeper(s *Source, conn grpc.ClientConnInterface) *keeper {
	return &keeper{source: s, conn: conn}
}

// run returns when ctx ends, or when there is no identity and no hope for one.
func (k *keeper) run(ctx context.Context) error {
	next := time.Now()
	if i := k.source.Current(); i != nil {
		next = renewalOf(i)
	}
	for {
		k.source.schedule(next)
		again, err := k.wait(ctx, next)
		if err != nil {
			return err
		}
		i := k.source.Current()
		switch again {
		case soon:
			if at := time.Now().Add(rand.N(min(askedWithin, i.life()/lifeFraction) + 1)); at.Before(next) {
				next = at
			}
			continue
		case anew:
			// Who is not trusted cannot renew.
			if time.Now().Before(k.anew) {
				continue
			}
			k.anew = time.Now().Add(retryRefused)
			demand := k.source.demand()
			if fresh, err := k.enrol(ctx); err == nil {
				next = k.succeed(fresh, fromEnrolment, demand)
			} else {
				k.source.note(err)
				k.log(err)
			}
			continue
		case due:
		}
		if next, err = k.attempt(ctx, i); err != nil {
			return err
		}
	}
}

// A cause is why the keeper wakes up.
type cause int

const (
	due cause = iota
	soon
	anew
)

func (k *keeper) wait(ctx context.Context, until time.Time) (cause, error) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return due, ctx.Err()
	case <-timer.C:
		return due, nil
	case <-k.source.renew:
		return soon, nil
	case <-k.source.suspect:
		return anew, nil
	}
}

// attempt gets a new identity, and returns when to try next. old is nil before the
// first.
func (k *keeper) attempt(ctx context.Context, old *Identity) (time.Time, error) {
	var i *Identity
	var err error
	demand := k.source.demand()
	from := fromEnrolment
	if old != nil && !old.expired(time.Now()) && k.conn != nil {
		from = fromRenewal
		i, err = k.renew(ctx, old)
		if unauthenticated(err) {
			if fresh, again := k.enrol(ctx); again == nil {
				i, err, from = fresh, nil, fromEnrolment
			}
		}
	} else {
		i, err = k.enrol(ctx)
	}
	if err == nil {
		return k.succeed(i, from, demand), nil
	}
	if ctx.Err() != nil {
		return time.Time{}, ctx.Err()
	}
	if none, ok := errors.AsType[enrolError](err); ok && old == nil && none.hopeless() {
		return time.Time{}, none
	}
	k.source.note(err)
	return k.fail(old, err), nil
}

// renew asks for the next certificate by showing the current one.
func (k *keeper) renew(ctx context.Context, old *Identity) (*Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, min(renewTimeout, old.life()/timeoutFraction, time.Until(old.NotAfter)))
	defer cancel()
	o, err := newOrder("")
	if err != nil {
		return nil, err
	}
	// Waiting takes the moment in which xdsserver comes back.
	i, err := o.sign(ctx, k.conn, k.source.config, o.request(k.source.config), grpc.WaitForReady(true))
	if err != nil {
		return nil, fmt.Errorf("renewal: %w", err)
	}
	if i.URI != old.URI {
		return nil, fmt.Errorf("renewal: signed a certificate of %s, the process is %s", i.URI, old.URI)
	}
	return i, nil
}

// succeed takes a new identity, and returns when to renew it.
func (k *keeper) succeed(i *Identity, from string, demand uint64) time.Time {
	k.source.accept(i, from, demand)
	k.failures, k.alarmed, k.logged = 0, 0, news{}
	args := []any{"identity", i, "serial", i.Serial(), "from", from}
	if from == fromRenewal {
		k.source.logger.Debug("identity", args...)
	} else {
		k.source.logger.Info("identity", args...)
	}
	return renewalOf(i)
}

// accept makes i the current identity. demand is the count of demands when it was
// asked for.
func (s *Source) accept(i *Identity, from string, demand uint64) {
	s.mu.Lock()
	// The connection of the configuration is faster than this one can be: a bundle
	// that it brought meanwhile may be newer than the one in i.
	if s.trust != nil && s.trust.TrustDomain() == i.ID.TrustDomain && !s.trust.Equal(i.Bundle) && s.trusts != s.seen {
		if _, err := s.trust.Verify(i.chain()); err == nil {
			i = i.withBundle(s.trust)
		}
	}
	s.reached = time.Now()
	s.met = max(s.met, demand)
	again := s.demands > s.met
	s.publish(i, from)
	s.mu.Unlock()
	if again {
		wake(s.renew)
	}
	wake(s.keep)
}

// demand returns how often a renewal was asked for.
func (s *Source) demand() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = s.trusts
	return s.demands
}

// schedule keeps when the next attempt is, for Status.
func (s *Source) schedule(next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.Load() != nil {
		s.renewAt = next
	}
}

// fail logs what a person has to know, and returns when to try again.
func (k *keeper) fail(old *Identity, err error) time.Time {
	now := time.Now()
	if old == nil || old.expired(now) {
		if old != nil && k.alarmed <= len(alarms) {
			k.alarmed = len(alarms) + 1
			k.source.logger.Error("identity has expired, and no connection can be made with it", "identity", old, "error", err)
		}
		k.log(err)
		k.failures++
		if refused(err) {
			return now.Add(retryRefused)
		}
		ceiling := retryEnrol
		if k.failures < 5 {
			ceiling = min(ceiling, firstEnrol<<(k.failures-1))
		}
		return now.Add(rand.N(ceiling))
	}
	left := float64(old.NotAfter.Sub(now)) / float64(old.life())
	level := 0
	for _, alarm := range alarms {
		if left <= alarm {
			level++
		}
	}
	if level > k.alarmed {
		k.alarmed = level
		k.source.logger.Warn("identity is not renewed",
			"identity", old, "left", old.NotAfter.Sub(now).Round(time.Second), "error", err)
	} else if refused(err) {
		k.log(err)
	}
	pause := min(retryRenewal, old.life()/retryFraction)
	next := now.Add(pause/2 + rand.N(pause/2+1))
	if end := old.NotAfter.Add(time.Millisecond); end.Before(next) {
		next = end // from then on another way is to be tried
	}
	return next
}

// log warns of a failure, once for as long as it stays the same.
func (k *keeper) log(err error) {
	if k.logged.differ(err) {
		k.source.logger.Warn("no new identity", "service", k.source.config.Service, "error", err)
	}
}

// renewalOf returns when to renew i.
func renewalOf(i *Identity) time.Time {
	part := renewAt * (1 + renewJitter*(2*rand.Float64()-1))
	return i.issued.Add(time.Duration(part * float64(i.life())))
}
