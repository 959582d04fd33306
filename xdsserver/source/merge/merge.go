// Package merge folds what all sources emit into one model.Set.
//
//	m := merge.New([]source.Source{files, store, registry}, logger)
//	err := m.Run(ctx, func(set *model.Set) { publish(set) })
//
// The order of sources is their precedence: an object that two of them hold is
// taken from the first. A change after a quiet time is emitted at once; changes
// in quick succession are gathered, so that a storm of them costs a bounded
// number of sets. What a set holds is model.Validate's business, not this
// package's.
package merge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

const (
	// gap is the least time between two sets. A change that comes later than
	// that after the last is emitted at once: an operator's one change does not
	// wait for others that do not come. Lower costs more sets in a storm, at
	// most one for each gap; higher delays each change that follows another.
	gap = 50 * time.Millisecond
	// patience is how long the first set waits for sources that have emitted
	// nothing yet.
	patience = 5 * time.Second
)

// A Merger runs sources and folds their outputs. Its methods are safe for
// concurrent use; Run is called once.
type Merger struct {
	// Immutable after New.
	sources []source.Source
	logger  *slog.Logger
	// wake has room for one: that something changed, not what.
	wake chan struct{}

	mu       sync.Mutex // held for bookkeeping only
	states   []state    // by source
	previous *model.Set
}

type state struct {
	output  source.Output
	emitted bool
	updated time.Time
}

// SourceStatus is how one source stands.
type SourceStatus struct {
	Name string
	// Err is why the source serves what may be old; nil when it is up to date.
	Err error
	// Updated is when it last emitted; zero before it has.
	Updated time.Time
}

// New returns a Merger of the sources, in order of precedence. A nil logger means
// slog.Default().
func New(sources []source.Source, logger *slog.Logger) *Merger {
	if logger == nil {
		logger = slog.Default()
	}
	return &Merger{
		sources: sources,
		logger:  logger,
		wake:    make(chan struct{}, 1),
		states:  make([]state, len(sources)),
	}
}

// Run runs the sources until ctx ends, and calls emit with each new set, never
// twice at a time. The first set comes when every source has emitted, or after 5
// seconds with those that have. A source that fails ends Run with its error.
func (m *Merger) Run(ctx context.Context, emit func(*model.Set)) error {
	group, ctx := errgroup.WithContext(ctx)
	for i, s := range m.sources {
		group.Go(func() error {
			err := s.Run(ctx, func(out source.Output) { m.take(i, out) })
			if err == nil && ctx.Err() == nil {
				err = errors.New("ended by itself")
			}
			if err != nil {
				return fmt.Errorf("source %s: %w", s.Name(), err)
			}
			return nil
		})
	}
	group.Go(func() error {
		m.fold(ctx, emit)
		return nil
	})
	return group.Wait()
}

// take keeps the newest output of a source.
func (m *Merger) take(i int, out source.Output) {
	m.mu.Lock()
	before := m.states[i]
	m.states[i] = state{output: out, emitted: true, updated: time.Now()}
	m.mu.Unlock()
	switch name := m.sources[i].Name(); {
	case out.Err != nil && (before.output.Err == nil || before.output.Err.Error() != out.Err.Error()):
		m.logger.Warn("source serves its last good state", "source", name, "error", out.Err)
	case out.Err == nil && before.output.Err != nil:
		m.logger.Info("source is up to date again", "source", name)
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// fold emits sets until ctx ends. After each it pauses for the gap, or for as
// long as the set took where that is longer: a mesh that is large enough to keep
// a core busy leaves half of it to others.
func (m *Merger) fold(ctx context.Context, emit func(*model.Set)) {
	if !m.first(ctx) {
		return
	}
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		began := time.Now()
		emit(m.next())
		pause.Reset(max(gap, time.Since(began)))
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		}
	}
}

// first waits until every source has emitted, or patience is up.
func (m *Merger) first(ctx context.Context) bool {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		missing := m.missing()
		if len(missing) == 0 {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-m.wake:
		case <-timeout.C:
			m.logger.Warn("starting without sources that are not ready", "sources", missing)
			return true
		}
	}
}

func (m *Merger) missing() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for i, s := range m.states {
		if !s.emitted {
			names = append(names, m.sources[i].Name())
		}
	}
	return names
}

// next folds the outputs into a set.
func (m *Merger) next() *model.Set {
	// The wake-up that is pending, if any, is answered by this set.
	select {
	case <-m.wake:
	default:
	}
	m.mu.Lock()
	states, previous := slices.Clone(m.states), m.previous
	m.mu.Unlock()
	set := m.set(states, previous)
	m.mu.Lock()
	m.previous = set
	m.mu.Unlock()
	return set
}

func (m *Merger) set(states []state, previous *model.Set) *model.Set {
	var objects []model.Object
	var endpoints []model.Endpoint
	var problems []model.Problem
	var trust *model.Trust
	var commands map[model.ServiceName]*model.Commands
	generations := make(map[string]uint64, len(states))
	for i, s := range states {
		objects = append(objects, s.output.Objects...)
		endpoints = append(endpoints, s.output.Endpoints...)
		problems = append(problems, s.output.Problems...)
		if trust == nil {
			trust = s.output.Trust
		}
		if commands == nil {
			commands = s.output.Commands
		}
		generations[m.sources[i].Name()] = s.output.Generation
	}
	set := model.Validate(append(objects, standIns(objects, problems)...), endpoints, previous)
	set.Problems = append(problems, set.Problems...)
	if set.Trust = trust; trust == nil && previous != nil {
		// Nobody could connect to anybody without it.
		set.Trust = previous.Trust
	}
	set.Commands, set.Generations = commands, generations
	return set
}

// standIns are the objects that stand for those nobody could read. Where a source
// holds one of that name, an earlier form or that of another source, it is not
// needed.
func standIns(objects []model.Object, problems []model.Problem) []model.Object {
	var all []model.Object
	seen := map[model.Ref]bool{}
	for _, p := range problems {
		if p.Instead == nil || p.Warning {
			continue
		}
		if len(seen) == 0 {
			for _, o := range objects {
				seen[o.Ref()] = true
			}
		}
		if !seen[p.Instead.Ref()] {
			seen[p.Instead.Ref()] = true
			all = append(all, p.Instead)
		}
	}
	return all
}

// Preview returns the set that would be emitted if the named source held these
// objects, and changes nothing.
func (m *Merger) Preview(name string, objects []model.Object) *model.Set {
	m.mu.Lock()
	states, previous := slices.Clone(m.states), m.previous
	m.mu.Unlock()
	for i, s := range m.sources {
		if s.Name() == name {
			states[i].output.Objects = objects
			states[i].output.Problems = nil
		}
	}
	return m.set(states, previous)
}

// Objects returns the objects of all sources in order of precedence; of those
// with one name the first, which is the one that is served.
func (m *Merger) Objects() []model.Object {
	m.mu.Lock()
	defer m.mu.Unlock()
	var objects []model.Object
	seen := map[model.Ref]bool{}
	for _, s := range m.states {
		for _, o := range s.output.Objects {
			if !seen[o.Ref()] {
				seen[o.Ref()] = true
				objects = append(objects, o)
			}
		}
	}
	return objects
}

// Status returns how each source stands, in order of precedence.
func (m *Merger) Status() []SourceStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	status := make([]SourceStatus, len(m.sources))
	for i, s := range m.states {
		status[i] = SourceStatus{Name: m.sources[i].Name(), Err: s.output.Err, Updated: s.updated}
	}
	return status
}
