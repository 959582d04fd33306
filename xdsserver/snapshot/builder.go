package snapshot

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/translate"
)

// Config configures a Builder. Its zero value works, without the judge.
type Config struct {
	// Judge has changed configuration decoded by a real grpc-go xDS client, too.
	Judge bool
	// Budget is how long that client may take for each 500 resources; zero means
	// 2 s. What it gives no verdict on in time is published as our own decoder
	// accepts it, with a warning. Lower delays a change less when the client hangs.
	Budget time.Duration
	// Logger takes the builder's few messages; nil means slog.Default().
	Logger *slog.Logger
}

// A Builder makes Snapshots, each from the one before. It is safe for concurrent
// use; calls take turns.
type Builder struct {
	config    Config
	translate translator

	mu       sync.Mutex // held while the judge deliberates
	jury     jury
	units    map[model.ServiceName]*unit
	trust    *model.Trust // of which bundle is made
	bundle   []*made
	orders   orders
	last     *Snapshot
	vanished map[string]*vanished
	closed   bool
}

// NewBuilder makes a Builder. It starts nothing: the judge starts when there is
// something to judge.
func NewBuilder(c Config) *Builder {
	if c.Budget == 0 {
		c.Budget = defaultBudget
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Builder{
		config: c,
		translate: translator{
			configuration: translate.Input.Configuration,
			inbound:       translate.Input.Inbound,
			assignments:   translate.Input.Assignments,
			trust:         translate.Trust,
			decode:        resource.Decode,
		},
		jury:     jury{budget: c.Budget, logger: c.Logger, verdicts: make(map[verdictKey]string)},
		units:    make(map[model.ServiceName]*unit),
		last:     &Snapshot{},
		vanished: make(map[string]*vanished),
	}
}

// Build makes the Snapshot of the set, and tells what of the set is not in it, or
// in it without having been judged. It blocks for the judge's budget at most, and
// when ctx ends publishes what has no verdict yet as when the time is up.
func (b *Builder) Build(ctx context.Context, set *model.Set) (*Snapshot, []model.Problem) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	units := b.unitsOf(translate.Inputs(set))
	problems := b.judge(ctx, units)

	a := assemble(units, resourcesOf(b.last), b.translate)
	a.addTrust(b.bundleOf(set.Trust))
	a.addCommands(b.orders.of(set, b.translate))
	b.bury(a, now)
	for k, before := range a.last {
		if before != nil && maps.Equal(before, a.now[k]) {
			a.now[k] = before
		}
	}
	b.last = &Snapshot{
		Revision:    b.last.Revision + 1,
		Types:       a.now.types(),
		Generations: maps.Clone(set.Generations),
		Built:       now,
	}
	b.keep(units)
	return b.last, append(a.problems, problems...)
}

// keep remembers the units for the next Build.
func (b *Builder) keep(units []*unit) {
	for _, u := range units {
		if name := u.input.Service.Name; b.units[name] != u {
			b.units[name] = u
		}
	}
	if len(b.units) == len(units) {
		return
	}
	current := make(map[*unit]bool, len(units))
	for _, u := range units {
		current[u] = true
	}
	maps.DeleteFunc(b.units, func(_ model.ServiceName, u *unit) bool { return !current[u] })
}

// Check returns the problems that a Build of the set would have, and changes
// nothing but what is remembered of verdicts.
func (b *Builder) Check(ctx context.Context, set *model.Set) []model.Problem {
	b.mu.Lock()
	defer b.mu.Unlock()
	units := b.unitsOf(translate.Inputs(set))
	problems := b.judge(ctx, units)
	a := assemble(units, resourcesOf(b.last), b.translate)
	a.addTrust(b.bundleOf(set.Trust))
	return append(a.problems, problems...)
}

// Close stops the judge and waits for it. It is idempotent. A Build after it
// judges by our own decoder alone.
func (b *Builder) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.jury.close()
}

func (b *Builder) unitsOf(inputs []translate.Input) []*unit {
	units := make([]*unit, len(inputs))
	for i, in := range inputs {
		units[i] = b.translate.update(b.units[in.Service.Name], in)
	}
	return units
}

// bundleOf returns the TrustBundle, made anew when its value is another: a Trust is
// immutable.
func (b *Builder) bundleOf(t *model.Trust) []*made {
	if b.trust != t {
		b.trust, b.bundle = t, b.translate.encodeAll(b.translate.trust(t), b.bundle)
	}
	return b.bundle
}

// judge gets the judge's verdicts on all configuration that has none.
func (b *Builder) judge(ctx context.Context, units []*unit) []model.Problem {
	if !b.config.Judge || b.closed {
		return nil
	}
	all := make([]*made, 0, 5*len(units))
	for _, u := range units {
		all = append(all, u.configuration...)
		all = append(all, u.inbound...)
	}
	without, err := b.jury.hear(ctx, all)
	b.jury.forget(all)
	if without == 0 {
		return nil
	}
	return []model.Problem{{
		Warning: true,
		Message: fmt.Sprintf("grpc-go's client gave no verdict on %d resources: %v; "+
			"they are published as our own decoder accepts them, and judged with a later change", without, err),
	}}
}
