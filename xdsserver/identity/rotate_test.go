package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// fleet is the processes of a mesh: each has an own bundle, which follows the
// authority's with a delay, and a leaf, which it renews at half of its life and
// when it is asked to.
type fleet struct {
	ca *CA

	mu      sync.Mutex
	bundles map[*member]uint64 // the generation each has; who is connected
}

type member struct {
	delay  time.Duration
	bundle *spiffe.Bundle
	before time.Time
	chain  []*x509.Certificate
}

// acknowledged implements Config.Acknowledged.
func (f *fleet) acknowledged(ctx context.Context, generation uint64) error {
	for {
		f.mu.Lock()
		all := true
		for _, has := range f.bundles {
			all = all && has >= generation
		}
		f.mu.Unlock()
		if all {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// live follows the authority until ctx ends.
func (f *fleet) live(ctx context.Context, t *testing.T, m *member) {
	for {
		changed := f.ca.Changed()
		trust := f.ca.Trust()
		if m.bundle != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(m.delay):
			}
		}
		f.mu.Lock()
		m.bundle, m.before = trust.Bundle, trust.RenewBefore
		f.bundles[m] = trust.Generation
		f.mu.Unlock()
		for again := false; !again; {
			f.mu.Lock()
			if m.chain == nil || m.chain[0].NotBefore.Before(m.before) || !time.Now().Before(halfLife(m.chain[0])) {
				m.chain = issue(t, f.ca)
			}
			renew := halfLife(m.chain[0])
			f.mu.Unlock()
			timer := time.NewTimer(time.Until(renew))
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-changed:
				again = true
			case <-timer.C:
			}
			timer.Stop()
		}
	}
}

// check has everybody verify everybody, and xdsserver.
func (f *fleet) check(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	own := parse(t, f.ca.Certificate().Certificate)
	for m := range f.bundles {
		verifies(t, m.bundle, own)
		for o := range f.bundles {
			verifies(t, m.bundle, o.chain)
		}
	}
}

// pace of the fleet's tests; three days of it are a few thousand handshakes.
func short(f *fleet) func(*Config) {
	return func(c *Config) {
		c.LeafTTL, c.IntermediateTTL, c.RootTTL = time.Hour, 6*time.Hour, 5*24*time.Hour
		c.Acknowledged = f.acknowledged
	}
}

func TestEverybodyVerifiesEverybodyThroughThirtyDaysOfRotations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{bundles: map[*member]uint64{}}
		f.ca = inMemory(t, short(f))
		run(t, f.ca)
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		for _, delay := range []time.Duration{time.Millisecond, time.Second, 10 * time.Minute} {
			wg.Go(func() { f.live(ctx, t, &member{delay: delay}) })
		}
		synctest.Wait()
		roots, intermediates := map[string]bool{}, map[string]bool{}
		for end := time.Now().Add(30 * 24 * time.Hour); time.Now().Before(end); {
			time.Sleep(43 * time.Minute) // not in step with what happens every hour
			synctest.Wait()
			f.check(t)
			s := f.ca.Status()
			if s.Problem != "" || len(s.Roots) > 2 {
				t.Fatalf("problem %q, %d roots", s.Problem, len(s.Roots))
			}
			roots[s.Roots[0].KeyID], intermediates[s.Intermediates[0].KeyID] = true, true
		}
		// A root of 5 days is replaced a day before its end, an intermediate of 6
		// hours after 3.
		if got := len(roots); got < 7 || got > 9 {
			t.Errorf("%d roots in 30 days", got)
		}
		if got := len(intermediates); got < 230 || got > 260 {
			t.Errorf("%d intermediates in 30 days", got)
		}
	})
}

func TestRotationOfARootWaitsForThoseWhoAreConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{bundles: map[*member]uint64{}}
		f.ca = inMemory(t, func(c *Config) { c.Acknowledged = f.acknowledged })
		run(t, f.ca)
		slow := &member{}
		f.bundles[slow] = 1
		old := issue(t, f.ca)
		before := f.ca.Changed()
		must(t, f.ca.Rotate(context.Background(), Root))
		select {
		case <-before:
		default:
			t.Error("the new root is not published")
		}
		wantError(t, f.ca.Rotate(context.Background(), Root), "a rotation of the root is under way")
		time.Sleep(time.Hour)
		synctest.Wait()

		s := f.ca.Status()
		if r := s.Rotation; r == nil || r.Level != Root || r.Phase != Prepared || r.Until.Sub(r.Since) != 24*time.Hour {
			t.Errorf("rotation %+v", s.Rotation)
		}
		if len(s.Roots) != 2 || s.Generation != 2 || s.Roots[0].Name != "root" || s.Roots[1].Name != "root-2" || s.Roots[1].Phase != Prepared {
			t.Errorf("roots %+v, generation %d", s.Roots, s.Generation)
		}
		if chain := issue(t, f.ca); !chain[1].Equal(old[1]) {
			t.Error("issued from a root that somebody does not have")
		}

		f.mu.Lock()
		f.bundles[slow] = 2
		f.mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		activated := time.Now()
		trust := f.ca.Trust()
		if chain := issue(t, f.ca); chain[1].Equal(old[1]) {
			t.Error("still issued from the old root")
		} else if chain[0].NotBefore.Before(trust.RenewBefore) {
			t.Error("what the new root issued is to be renewed at once")
		}
		if !old[0].NotBefore.Before(trust.RenewBefore) {
			t.Error("what the old root issued need not be renewed")
		}
		if got := trust.Generation; got != 3 {
			t.Errorf("generation %d, want 3", got)
		}
		// Who missed the new root, still verifies xdsserver.
		own := parse(t, f.ca.Certificate().Certificate)
		if last := own[len(own)-1]; !last.Equal(trust.Bundle.Roots()[1]) {
			t.Error("xdsserver's own certificate left the old root too early")
		}
		if r := f.ca.Status().Rotation; r == nil || r.Phase != Active {
			t.Errorf("rotation %+v", r)
		}

		time.Sleep(23*time.Hour + 59*time.Minute)
		synctest.Wait()
		if len(f.ca.Trust().Bundle.Roots()) != 2 {
			t.Error("the old root is gone before its last leaf has expired")
		}
		verifies(t, f.ca.Trust().Bundle, parse(t, f.ca.Certificate().Certificate))
		time.Sleep(time.Until(activated.Add(24*time.Hour + slackMost + time.Second)))
		synctest.Wait()
		s = f.ca.Status()
		if len(s.Roots) != 1 || s.Roots[0].Name != "root-2" || s.Rotation != nil || s.Generation != 4 {
			t.Errorf("the old root is still there: %+v", s)
		}
		if _, err := f.ca.Trust().Bundle.Verify(old); err == nil {
			t.Error("a leaf of the old root is still accepted")
		}
		verifies(t, f.ca.Trust().Bundle, parse(t, f.ca.Certificate().Certificate))
	})
}

func TestRotationOfARootDoesNotWaitLongerThanADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		ca := inMemory(t, func(c *Config) {
			c.Acknowledged = func(ctx context.Context, _ uint64) error {
				asked++
				return errors.New("no")
			}
		})
		run(t, ca)
		must(t, ca.Rotate(context.Background(), Root))
		time.Sleep(24*time.Hour - time.Second)
		synctest.Wait()
		if ca.Status().Roots[0].Name != "root" {
			t.Error("activated too early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if ca.Status().Roots[0].Name != "root-2" {
			t.Error("not activated after a day")
		}
		if asked < 1440-30 || asked > 1440+30 {
			t.Errorf("asked %d times, want about once a minute", asked)
		}
	})
}

func TestANewRootIsPublishedForAMomentBeforeItIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := inMemory(t, nil) // nobody is connected, so everybody has it
		run(t, ca)
		must(t, ca.Rotate(context.Background(), Root))
		time.Sleep(settleMost - time.Millisecond)
		synctest.Wait()
		if ca.Status().Roots[0].Name != "root" {
			t.Error("activated at once: clients that come back after a restart would not have it")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if ca.Status().Roots[0].Name != "root-2" {
			t.Error("not activated")
		}
	})
}

func TestIntermediateIsReplacedAtHalfOfItsLifeAndRetiredWithItsLastLeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := inMemory(t, nil)
		run(t, ca)
		first := issue(t, ca)[1]
		time.Sleep(15*24*time.Hour - time.Second)
		synctest.Wait()
		if !issue(t, ca)[1].Equal(first) {
			t.Error("replaced before half of its life")
		}
		last := issue(t, ca)
		time.Sleep(time.Second)
		synctest.Wait()
		if issue(t, ca)[1].Equal(first) {
			t.Error("not replaced at half of its life")
		}
		s := ca.Status()
		if len(s.Intermediates) != 2 || s.Intermediates[1].Phase != Retiring || s.Intermediates[1].Online || s.Rotation == nil {
			t.Errorf("intermediates %+v, rotation %+v", s.Intermediates, s.Rotation)
		}
		if s.Generation != 1 {
			t.Error("the bundle changed, though the root did not")
		}
		time.Sleep(24*time.Hour - time.Second)
		synctest.Wait()
		if len(ca.Status().Intermediates) != 2 {
			t.Error("retired before its last leaf has expired")
		}
		verifies(t, ca.Trust().Bundle, last)
		time.Sleep(slackMost + time.Second)
		synctest.Wait()
		if got := ca.Status().Intermediates; len(got) != 1 || got[0].Name != "intermediate-2" {
			t.Errorf("intermediates %+v", got)
		}
	})
}

func TestIntermediateRotatesOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := inMemory(t, nil)
		must(t, ca.Rotate(context.Background(), Intermediate))
		wantError(t, ca.Rotate(context.Background(), Intermediate), "a rotation of the intermediate is under way")
		if r := ca.Status().Rotation; r == nil || r.Level != Intermediate || r.Phase != Prepared {
			t.Errorf("rotation %+v", r)
		}
		run(t, ca)
		synctest.Wait()
		if got := ca.Status().Intermediates[0].Name; got != "intermediate-2" {
			t.Errorf("%s is active", got)
		}
		verifies(t, ca.Trust().Bundle, issue(t, ca))
		wantError(t, ca.Rotate(context.Background(), Level(7)), "unknown does not rotate")
	})
}

func TestLivesOfSecondsRotateWithoutAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{bundles: map[*member]uint64{}}
		f.ca = inMemory(t, func(c *Config) {
			c.LeafTTL, c.IntermediateTTL, c.RootTTL = 2*time.Second, 6*time.Second, time.Minute
			c.Acknowledged = f.acknowledged
		})
		run(t, f.ca)
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		for range 3 {
			wg.Go(func() { f.live(ctx, t, &member{delay: 10 * time.Millisecond}) })
		}
		synctest.Wait()
		roots := map[string]bool{}
		for range 700 {
			time.Sleep(230 * time.Millisecond)
			synctest.Wait()
			f.check(t)
			roots[f.ca.Status().Roots[0].KeyID] = true
		}
		if got := len(roots); got < 4 || got > 6 {
			t.Errorf("%d roots in 161 seconds", got)
		}
	})
}
