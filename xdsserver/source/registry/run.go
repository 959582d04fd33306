package registry

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

// Run implements [source.Source]: it emits the endpoints now and after each
// change of theirs, at most 20 times a second. It may run once; when it returns,
// open registrations have been ended and the endpoints saved.
func (r *Registry) Run(ctx context.Context, emit func(source.Output)) error {
	r.restore()
	var saver sync.WaitGroup
	saver.Go(func() { r.saveLoop(ctx) })
	defer saver.Wait()
	defer r.stop()

	timer := time.NewTimer(0)
	defer timer.Stop()
	var last []model.Endpoint
	generation := uint64(0)
	for {
		endpoints, change, next := r.look()
		if generation == 0 || !slices.EqualFunc(last, endpoints, same) {
			generation++
			emit(source.Output{Generation: generation, Endpoints: endpoints})
			last = endpoints
		}
		r.announce(change, generation)

		timer.Reset(emitGap)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		var due <-chan time.Time
		if !next.IsZero() {
			timer.Reset(time.Until(next))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-due:
		}
	}
}

// look removes endpoints whose time has come, and returns the others, the change
// of the table they are, and when to look again.
func (r *Registry) look() (endpoints []model.Endpoint, change uint64, next time.Time) {
	now := time.Now()
	r.mu.Lock()
	expired := r.table.expire(now)
	endpoints, change, next = r.table.endpoints(now), r.table.change, r.table.next(now)
	r.mu.Unlock()
	for _, e := range expired {
		r.config.Logger.Info("endpoint gone, its lease has ended", "service", e.Service.String(), "instance", e.Instance)
	}
	return endpoints, change, next
}

// announce tells those who wait for a change that it is emitted, and the saver.
func (r *Registry) announce(change, generation uint64) {
	r.mu.Lock()
	news := r.news
	r.news = make(chan struct{})
	r.emitted.change, r.emitted.generation = change, generation
	r.mu.Unlock()
	close(news)
	notify(r.saveWake)
}

// stop ends all registrations and waits for their goroutines.
func (r *Registry) stop() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	close(r.stopped)
	r.streams.Wait()
}

// restore brings back what the store remembers.
func (r *Registry) restore() {
	if r.config.Store == nil {
		return
	}
	known, err := r.config.Store.LoadEndpoints()
	if err != nil {
		r.config.Logger.Warn("endpoints last known not read in whole; they come back as they register", "error", err)
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range known {
		if e.Health != model.NotServing {
			e.Health = model.Healthy
		}
		r.table.restore(e, r.config.WarmUp, now)
	}
}

// saveLoop keeps the store up to date, and saves once more at the end. A failure
// is logged once, and tried again until it has passed.
func (r *Registry) saveLoop(ctx context.Context) {
	if r.config.Store == nil {
		return
	}
	var saved []model.Endpoint
	failing := false
	save := func() {
		r.mu.Lock()
		endpoints := r.table.remembered()
		r.mu.Unlock()
		if !failing && slices.EqualFunc(saved, endpoints, same) {
			return
		}
		err := r.config.Store.SaveEndpoints(endpoints)
		switch {
		case err != nil && !failing:
			r.config.Logger.Warn("endpoints not saved; a restart would not know them", "error", err)
		case err == nil && failing:
			r.config.Logger.Info("endpoints are saved again")
		}
		if failing = err != nil; failing {
			notify(r.saveWake)
			return
		}
		saved = endpoints
	}
	defer save()
	pause := time.NewTimer(saveGap)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.saveWake:
		}
		save()
		pause.Reset(saveGap)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// same reports whether two endpoints look the same from outside.
func same(a, b model.Endpoint) bool {
	return a.Service == b.Service && a.Instance == b.Instance && a.Version == b.Version &&
		a.Region == b.Region && a.Zone == b.Zone && a.Weight == b.Weight && a.Health == b.Health &&
		a.From == b.From && a.Since.Equal(b.Since) && slices.Equal(a.Addresses, b.Addresses)
}
