package consul

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
)

// askWithin bounds a question to the leader, which new answers wait for.
const askWithin = 5 * time.Second

// watch follows a service until ctx ends.
func (c *catalog) watch(ctx context.Context, w *watched) {
	readings := make(chan reading)
	var following sync.WaitGroup
	defer following.Wait()
	following.Go(func() {
		for ctx.Err() == nil {
			c.follow(ctx, w, readings)
		}
	})
	l := loop{
		service: newService(w.name, c.self), readings: readings,
		ask:     func(ctx context.Context) reading { return c.ask(ctx, w.name) },
		publish: func(v *view) { c.publish(w, v) },
	}
	l.run(ctx)
}

// follow sends readings until ctx ends or the list proves that they are old.
func (c *catalog) follow(ctx context.Context, w *watched, readings chan<- reading) {
	turn, end := context.WithCancel(ctx)
	defer end()
	c.mu.Lock()
	w.renew = end
	c.mu.Unlock()
	_ = consul.Follow(turn, c.client, consul.Watch[[]*api.ServiceEntry]{ // which ends with its context alone
		What: "service " + w.name,
		Fetch: func(q *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
			return c.health(w.name, first(q))
		},
		Emit: func(a consul.Answer[[]*api.ServiceEntry]) {
			select {
			case readings <- reading{entries: a.Value, filtered: a.Filtered || c.blind.Load(), err: a.Err}:
			case <-turn.Done():
			}
		},
	})
}

// health asks for the instances of a service, and their health.
func (c *catalog) health(name string, q *api.QueryOptions) (entries []*api.ServiceEntry, meta *api.QueryMeta, err error) {
	err = safely(func() error {
		entries, meta, err = c.client.API().Health().Service(name, c.tag, false, q)
		return err
	})
	return entries, meta, err
}

// safely makes a panic of Consul's own decoder an error: that of v1.33 ends with one where
// the definition of a check is null, and no answer may end this process.
func safely(decode func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the answer is not what consul says: %v", p)
		}
	}()
	return decode()
}

// first has a query that begins from nothing be answered by the leader. Another server
// may have started a moment ago, and would say that there is nothing.
func first(q *api.QueryOptions) *api.QueryOptions {
	if q.WaitIndex == 0 {
		q.AllowStale, q.RequireConsistent = false, true
	}
	return q
}

// ask asks the leader. Few ask at one time: when a thousand services vanish, the leader
// has other worries.
func (c *catalog) ask(ctx context.Context, name string) reading {
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-ctx.Done():
		return reading{fresh: true, err: ctx.Err()}
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	q, done := c.client.Query(ctx)
	defer done()
	entries, meta, err := c.health(name, q)
	if err != nil {
		return reading{fresh: true, err: err}
	}
	return reading{entries: entries, filtered: meta.ResultsFilteredByACLs || c.blind.Load(), fresh: true}
}

// A loop is what moves the state of one service: answers, and time.
type loop struct {
	service  *service
	readings <-chan reading
	// ask asks the leader.
	ask func(context.Context) reading
	// publish takes each view that differs from the one before it.
	publish func(*view)
}

// run returns when ctx ends.
func (l *loop) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	var last *view
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-l.readings:
			l.service.take(r, time.Now())
		case <-timer.C:
			if at := l.service.askAt(); !at.IsZero() && !time.Now().Before(at) {
				l.service.take(l.ask(ctx), time.Now())
			}
		}
		now := time.Now()
		if v := l.service.view(now); !v.same(last) && ctx.Err() == nil {
			last = v
			l.publish(v)
		}
		timer.Stop()
		if at := l.service.next(now); !at.IsZero() {
			timer.Reset(at.Sub(now))
		}
	}
}
