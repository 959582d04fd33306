// Package announce tells Consul of the services that joined an xdsserver, so that
// Consul's own users and the other xdsservers see them.
//
//	a, err := announce.New(announce.Config{Client: client, Owner: replica})
//	if err != nil {
//		return err
//	}
//	a.Set(endpoints)  // whenever they change
//	err = a.Run(ctx)
//
// Each endpoint is a service of the Consul agent with a check that lapses when it is not
// refreshed. Its id and its metadata say which xdsserver it is of; what is not this one's
// is never touched. When Run ends the registrations stay, and lapse: the processes move to
// another xdsserver meanwhile, and should not vanish in between.
package announce

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

const (
	// ttl is how long a registration is good without a refresh, refresh how often it is
	// refreshed. Lower finds a lost xdsserver sooner, and costs the agent a write per
	// endpoint each refresh.
	ttl, refresh = 15 * time.Second, 5 * time.Second
	// beat is how often it is looked which are to be refreshed: a part of them, each time.
	beat = 250 * time.Millisecond
	// look is how often what the agent has is compared with what it should have.
	look = 10 * time.Second
	// retryLeast and retryMost bound the pause after a failure.
	retryLeast, retryMost = 250 * time.Millisecond, 3 * time.Second
)

// Config configures an Announcer.
type Config struct {
	// Client is the connection to Consul. Required.
	Client *consul.Client
	// Owner is the name of this xdsserver among others. Required.
	Owner string
	// Logger takes what an operator should know; nil means slog.Default().
	Logger *slog.Logger
}

// An Announcer keeps Consul informed. It is safe for concurrent use.
type Announcer struct {
	client *consul.Client
	owner  string
	logger *slog.Logger
	// wake has room for one: there are other endpoints.
	wake chan struct{}

	mu   sync.Mutex // held for moments
	want map[string]service
	// set counts calls of Set; told is the last of which Consul knows. news is closed, and
	// replaced, when told grows.
	set, told uint64
	news      chan struct{}
}

// New returns an Announcer that has told nothing yet.
func New(c Config) (*Announcer, error) {
	switch {
	case c.Client == nil:
		return nil, errors.New("announce: no connection to consul: set Config.Client")
	case c.Owner == "":
		return nil, errors.New("announce: no owner: set Config.Owner to the name of this xdsserver")
	}
	return &Announcer{
		client: c.Client, owner: c.Owner, logger: cmp.Or(c.Logger, slog.Default()),
		wake: make(chan struct{}, 1), news: make(chan struct{}),
	}, nil
}

// Set replaces what Consul is to know by the endpoints that are registered now, all of
// them. It does not wait.
func (a *Announcer) Set(endpoints []model.Endpoint) {
	want := make(map[string]service, len(endpoints))
	for _, e := range endpoints {
		if e.Health == model.Leaving {
			continue
		}
		s, err := a.serviceOf(e)
		if err != nil {
			a.logger.Debug("consul is not told of an endpoint", "service", e.Service, "instance", e.Instance, "error", err)
			continue
		}
		want[s.id] = s
	}
	a.mu.Lock()
	a.want = want
	a.set++
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Flushed returns when Consul knows everything that was Set before, or with ctx's error.
// It is [consul.ErrReadOnly] where Consul is told nothing.
func (a *Announcer) Flushed(ctx context.Context) error {
	if a.client.ReadOnly() {
		return consul.ErrReadOnly
	}
	a.mu.Lock()
	set := a.set
	a.mu.Unlock()
	for {
		a.mu.Lock()
		told, news := a.told, a.news
		a.mu.Unlock()
		if told >= set {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Run tells Consul until ctx ends, and returns nil then.
func (a *Announcer) Run(ctx context.Context) error {
	if a.client.ReadOnly() {
		<-ctx.Done() // nobody is told
		return nil
	}
	teller := newTeller(a)
	next := time.NewTimer(0)
	defer next.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
		case <-next.C:
		}
		more, err := teller.turn(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if failures++; failures == 1 {
				a.logger.Warn("consul is not told of endpoints; it is tried again", "error", err)
			}
			next.Reset(min(retryMost, retryLeast<<min(failures, 4)))
			continue
		case failures > 0:
			failures = 0
			a.logger.Info("consul is told of endpoints again")
		}
		if more {
			next.Reset(0)
		} else {
			next.Reset(beat)
		}
	}
}

// wanted is what Consul is to know, and which Set that is of.
func (a *Announcer) wanted() (map[string]service, uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.want, a.set
}

// know notes that Consul knows what a Set said.
func (a *Announcer) know(set uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if set <= a.told {
		return
	}
	a.told = set
	close(a.news)
	a.news = make(chan struct{})
}
