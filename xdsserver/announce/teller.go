package announce

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/sync/errgroup"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
)

const (
	// parallel is how many requests are under way at one time, most how many are made
	// before what is wanted is looked at again. Lower hears of changes sooner in a storm.
	parallel, most = 16, 64
	// callWithin bounds what is asked of the agent in one go.
	callWithin = 10 * time.Second
)

// A teller knows what the agent has. It belongs to the goroutine of Run.
type teller struct {
	*Announcer

	// has is what the agent has of ours, by id; valid while sound.
	has    map[string]registered
	sound  bool
	looked time.Time
	// grace ends the time in which what an earlier run registered is left alone: its
	// processes may be on their way back.
	grace time.Time
	// refused is when what the agent refused is tried again, by id.
	refused map[string]time.Time
}

// registered is a service that the agent has.
type registered struct {
	service

	// refreshed is when the agent was told last that it is there; zero where this run did
	// not, or something failed since: it is registered anew.
	refreshed time.Time
	// token is which of our tokens it was registered with. The agent speaks for a service
	// by that one, also when we have long had another.
	token uint64
	// inherited is true of what an earlier run registered.
	inherited bool
}

func newTeller(a *Announcer) *teller {
	return &teller{Announcer: a, grace: time.Now().Add(ttl), refused: map[string]time.Time{}}
}

// A job is one request to the agent.
type job struct {
	id, name string
	kind     jobKind
	do       func(context.Context) error
	// after is what the agent has then; nil for nothing.
	after *registered
}

// jobKind orders jobs: who must not be called any more comes first, then who is still
// there, since a check that lapses is a loss, and who is new last.
type jobKind int

const (
	jobGone jobKind = iota
	jobStatus
	jobRefresh
	jobRegister
)

// turn does the next of what is to be done; more says that there is more.
func (t *teller) turn(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	if !t.sound || time.Since(t.looked) >= look {
		if err := t.read(ctx); err != nil {
			t.doubt()
			return false, err
		}
	}
	want, set := t.wanted()
	if set == 0 {
		return false, nil // nobody has said yet what is registered
	}
	maps.DeleteFunc(t.refused, func(id string, _ time.Time) bool {
		_, wanted := want[id]
		_, has := t.has[id]
		return !wanted && !has
	})
	jobs, waiting := t.jobs(want, time.Now())
	more = len(jobs) > most
	jobs = jobs[:min(most, len(jobs))]
	if err := t.all(ctx, jobs); err != nil {
		t.doubt()
		return false, err
	}
	refused := slices.ContainsFunc(jobs, func(j job) bool {
		_, refused := t.refused[j.id]
		return refused && j.kind != jobRefresh
	})
	if !more && !waiting && !refused {
		t.know(set)
	}
	return more, nil
}

// doubt has everything be registered anew: the agent may have forgotten what it does not
// seem to have.
func (t *teller) doubt() {
	t.sound = false
	for id, had := range t.has {
		had.refreshed = time.Time{}
		t.has[id] = had
	}
}

// jobs are what is to be done, in order; waiting says that more is, and is refused now.
func (t *teller) jobs(want map[string]service, now time.Time) (jobs []job, waiting bool) {
	add := func(j job) {
		switch {
		case !now.Before(t.refused[j.id]):
			jobs = append(jobs, j)
		case j.kind != jobRefresh:
			waiting = true
		}
	}
	token := t.client.TokenChanges()
	for id, s := range want {
		had, ok := t.has[id]
		j := job{id: id, name: s.name, after: &registered{service: s, refreshed: now, token: token}}
		switch {
		case !ok || !had.same(s) || had.refreshed.IsZero() || had.token != token:
			// The refreshes of many that came together are spread.
			j.kind, j.do, j.after.refreshed = jobRegister, func(ctx context.Context) error { return t.register(ctx, s) }, now.Add(-spread(id))
		case had.serving != s.serving:
			j.kind, j.do = jobStatus, func(ctx context.Context) error { return t.pass(ctx, s) }
		case now.Sub(had.refreshed) >= refresh:
			j.kind, j.do = jobRefresh, func(ctx context.Context) error { return t.pass(ctx, s) }
		default:
			continue
		}
		add(j)
	}
	for id, had := range t.has {
		if _, wanted := want[id]; wanted || had.inherited && now.Before(t.grace) {
			continue
		}
		add(job{id: id, name: had.name, kind: jobGone, do: func(ctx context.Context) error { return t.deregister(ctx, id) }})
	}
	slices.SortFunc(jobs, func(a, b job) int { return cmp.Or(cmp.Compare(a.kind, b.kind), strings.Compare(a.id, b.id)) })
	return jobs, waiting
}

// spread is a part of the time between two refreshes, of each id another.
func spread(id string) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return time.Duration(h.Sum32()) % refresh
}

// read asks the agent what it has of ours.
func (t *teller) read(ctx context.Context) error {
	first := t.looked.IsZero()
	filter := fmt.Sprintf("Meta[%q] == %q", consul.MetaOwner, t.owner)
	found, err := t.client.API().Agent().ServicesWithFilterOpts(filter, options(ctx))
	if err != nil {
		return t.client.Explain("list the services of the agent", err)
	}
	has := make(map[string]registered, len(found))
	for _, f := range found {
		if !t.owned(f) {
			continue
		}
		now := registered{service: of(f), inherited: first}
		if before, known := t.has[f.ID]; known {
			now.serving, now.inherited, now.refreshed, now.token = before.serving, before.inherited, before.refreshed, before.token
		}
		has[f.ID] = now
	}
	t.has, t.sound, t.looked = has, true, time.Now()
	return nil
}

// all does jobs side by side, and keeps what came of each. The error is the first that
// is no answer of the agent: those concern one service, and hold up no other.
func (t *teller) all(ctx context.Context, jobs []job) error {
	results := make([]error, len(jobs))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, j := range jobs {
		group.Go(func() error {
			results[i] = j.do(ctx)
			return nil
		})
	}
	_ = group.Wait() // results has the errors
	var first error
	for i, j := range jobs {
		switch err := results[i]; {
		case answered(err):
			t.refuse(j, err)
		case err != nil:
			first = cmp.Or(first, err)
		default:
			delete(t.refused, j.id)
			if j.after == nil {
				delete(t.has, j.id)
			} else {
				t.has[j.id] = *j.after
			}
		}
	}
	return first
}

// refuse puts off what the agent refuses, and tells of it once.
func (t *teller) refuse(j job, err error) {
	_, told := t.refused[j.id]
	again := retryMost
	switch {
	case consul.Denied(err):
		again = look
		if !told {
			t.logger.Warn("consul is not told of an endpoint: the token lacks a rule", "service", j.name,
				"rule", fmt.Sprintf("service %q { policy = \"write\" }", j.name), "error", err)
		}
	case !told:
		t.logger.Warn("consul is not told of an endpoint; it is tried again", "service", j.name, "error", err)
	}
	t.refused[j.id] = time.Now().Add(again)
	if had, ok := t.has[j.id]; ok {
		had.refreshed = time.Time{}
		t.has[j.id] = had
	}
}

// answered reports whether an error is what the agent says.
func answered(err error) bool {
	status := api.StatusError{}
	return errors.As(err, &status) && status.Code != http.StatusTooManyRequests
}

func (t *teller) register(ctx context.Context, s service) error {
	opts := api.ServiceRegisterOpts{ReplaceExistingChecks: true}.WithContext(ctx)
	return t.client.Explain("register "+s.name, t.client.API().Agent().ServiceRegisterOpts(s.registration(), opts))
}

// pass says of an endpoint that it is still there, and whether it serves. An agent
// forgets who does not serve for a minute, and is told anew.
func (t *teller) pass(ctx context.Context, s service) error {
	status, note := s.status()
	err := t.client.API().Agent().UpdateTTLOpts(s.check(), note, status, options(ctx))
	if unknown(err) {
		return t.register(ctx, s)
	}
	return t.client.Explain("refresh "+s.name, err)
}

func (t *teller) deregister(ctx context.Context, id string) error {
	err := t.client.API().Agent().ServiceDeregisterOpts(id, options(ctx))
	if unknown(err) {
		return nil
	}
	return t.client.Explain("deregister "+id, err)
}

// unknown reports whether the agent does not have what was asked for.
func unknown(err error) bool {
	status := api.StatusError{}
	return errors.As(err, &status) && status.Code == http.StatusNotFound
}

func options(ctx context.Context) *api.QueryOptions { return (&api.QueryOptions{}).WithContext(ctx) }
