package announce

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/sync/errgroup"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
)

// parallel is how many requests are under way at one time.
const parallel = 16

// A teller knows what the agent has. It belongs to the goroutine of Run.
type teller struct {
	*Announcer

	// has is what the agent has of ours, by id; valid while sound.
	has    map[string]service
	sound  bool
	looked time.Time
	// grace ends the time in which what an earlier run registered is left alone: its
	// processes may be on their way back.
	grace time.Time
}

func newTeller(a *Announcer) *teller { return &teller{Announcer: a, grace: time.Now().Add(ttl)} }

// reconcile makes what the agent has what it should have.
func (t *teller) reconcile(ctx context.Context) error {
	if !t.sound || time.Since(t.looked) >= look {
		if err := t.read(ctx); err != nil {
			return err
		}
	}
	want, set := t.wanted()
	if set == 0 {
		return nil // nobody has said yet what is registered
	}
	next := make(map[string]service, len(want))
	var jobs []func(context.Context) error
	for _, id := range sorted(want) {
		s := want[id]
		next[id] = s
		before, had := t.has[id]
		switch {
		case !had || !before.same(s):
			jobs = append(jobs, func(ctx context.Context) error { return t.register(ctx, s) })
		case before.serving != s.serving:
			jobs = append(jobs, func(ctx context.Context) error { return t.pass(ctx, s) })
		}
	}
	for _, id := range sorted(t.has) {
		if _, wanted := want[id]; wanted {
			continue
		}
		if t.has[id].inherited && time.Now().Before(t.grace) {
			next[id] = t.has[id]
			continue
		}
		jobs = append(jobs, func(ctx context.Context) error { return t.deregister(ctx, id) })
	}
	if err := t.all(ctx, jobs); err != nil {
		t.sound = false
		return err
	}
	t.has = next
	t.know(set)
	return nil
}

// read asks the agent what it has of ours.
func (t *teller) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	first := t.looked.IsZero()
	filter := fmt.Sprintf("Meta[%q] == %q", consul.MetaOwner, t.owner)
	found, err := t.client.API().Agent().ServicesWithFilterOpts(filter, options(ctx))
	if err != nil {
		return t.client.Explain("list the services of the agent", err)
	}
	has := make(map[string]service, len(found))
	for _, f := range found {
		if !t.owned(f) {
			continue
		}
		s := of(f)
		if before, known := t.has[s.id]; known {
			s.serving, s.inherited = before.serving, before.inherited
		} else {
			s.inherited = first
		}
		has[s.id] = s
	}
	t.has, t.sound, t.looked = has, true, time.Now()
	return nil
}

// refresh says of each endpoint that it is still there.
func (t *teller) refresh(ctx context.Context) error {
	want, _ := t.wanted()
	jobs := make([]func(context.Context) error, 0, len(want))
	for _, id := range sorted(want) {
		s := want[id]
		jobs = append(jobs, func(ctx context.Context) error { return t.pass(ctx, s) })
	}
	if err := t.all(ctx, jobs); err != nil {
		t.sound = false // the agent may have forgotten some
		return err
	}
	return nil
}

// all does jobs side by side, and returns the first error when all have ended.
func (t *teller) all(ctx context.Context, jobs []func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(parallel)
	for _, job := range jobs {
		group.Go(func() error { return job(ctx) })
	}
	return group.Wait()
}

// callWithin bounds what is asked of the agent in one go.
const callWithin = 15 * time.Second

func (t *teller) register(ctx context.Context, s service) error {
	opts := api.ServiceRegisterOpts{ReplaceExistingChecks: true}.WithContext(ctx)
	return t.client.Explain("register "+s.name, t.client.API().Agent().ServiceRegisterOpts(s.registration(), opts))
}

func (t *teller) pass(ctx context.Context, s service) error {
	status, note := s.status()
	return t.client.Explain("refresh "+s.name, t.client.API().Agent().UpdateTTLOpts(s.check(), note, status, options(ctx)))
}

func (t *teller) deregister(ctx context.Context, id string) error {
	return t.client.Explain("deregister "+id, t.client.API().Agent().ServiceDeregisterOpts(id, options(ctx)))
}

func options(ctx context.Context) *api.QueryOptions { return (&api.QueryOptions{}).WithContext(ctx) }
