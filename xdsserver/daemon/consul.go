package daemon

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tulle-mesh/tulle/xdsserver/admin"
	"github.com/tulle-mesh/tulle/xdsserver/announce"
	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/enrol"
	"github.com/tulle-mesh/tulle/xdsserver/source"
	consulsource "github.com/tulle-mesh/tulle/xdsserver/source/consul"
	"github.com/tulle-mesh/tulle/xdsserver/store/kv"
)

const (
	// compactEvery is how often the leader looks whether the log of revisions is long.
	compactEvery = time.Minute
	// rootPoll is how often it is looked whether the key of the authority's root is here.
	rootPoll = 10 * time.Second
	// cacheFile keeps, in the data directory, what was applied as Consul had it last.
	cacheFile = "consul.cache"
	// sourceCache keeps there what services, routes and access were in Consul last.
	sourceCache = "consul-services.cache"
	// settleElsewhere is how long an endpoint that leaves waits for the clients of other
	// xdsservers, once Consul knows: they hear of it within that.
	settleElsewhere = 500 * time.Millisecond
)

// objects keeps what is applied, and the join tokens: on this machine's disk, or in
// Consul.
type objects interface {
	admin.Store
	enrol.TokenStore
	source.Source
}

// openConsul connects to Consul, where there is one. Consul may be away: what is known
// of it is served until it is back.
func (d *Daemon) openConsul(c Config) (err error) {
	d.objects = d.store
	if c.Consul == nil {
		return nil
	}
	if d.replica, err = replica(c.Data); err != nil {
		return fmt.Errorf("replica: %w", err)
	}
	config := *c.Consul
	config.Logger = c.Logger
	if d.consul, err = consul.New(config); err != nil {
		return &ConfigError{Flag: "--consul", Reason: err.Error()}
	}
	d.catalog = consulsource.New(consulsource.Config{
		Client: d.consul, Self: d.replica, Tag: c.ConsulTag, CacheFile: filepath.Join(c.Data, sourceCache), Logger: c.Logger,
	})
	if d.consul.ReadOnly() {
		return nil
	}
	shared, err := kv.Open(context.Background(), kv.Config{Client: d.consul, CacheFile: filepath.Join(c.Data, cacheFile), Logger: c.Logger})
	if err != nil {
		return err
	}
	d.objects, d.compact = shared, shared.Compact
	d.announcer, err = announce.New(announce.Config{Client: d.consul, Owner: d.replica, Logger: c.Logger})
	return err
}

// runConsul does what an xdsserver does over Consul beside serving, until ctx ends.
func (d *Daemon) runConsul(ctx context.Context) error {
	if d.announcer == nil {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.announcer.Run(ctx) })
	group.Go(func() error {
		return d.consul.Lead(ctx, consul.Leadership{Key: "locks/objects", Name: d.replica, Do: d.keepShort})
	})
	group.Go(func() error { return d.leadAuthority(ctx) })
	return group.Wait()
}

// leadAuthority takes part in who does the duties of the authority's root, for as long as
// this xdsserver holds the root's key: another could only keep the lock from those who do.
func (d *Daemon) leadAuthority(ctx context.Context) error {
	for ctx.Err() == nil {
		if d.authority.Status().RootOnline {
			d.leadOnline(ctx)
			continue
		}
		if !sleep(ctx, rootPoll) {
			break
		}
	}
	return nil
}

// leadOnline is leadAuthority until the key is gone, or ctx ends.
func (d *Daemon) leadOnline(ctx context.Context) {
	ctx, end := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer end()
	watching.Go(func() {
		defer end()
		for d.authority.Status().RootOnline && sleep(ctx, rootPoll) {
		}
	})
	// Each change of the authority is a check-and-set of its own, which is fence enough.
	_ = d.consul.Lead(ctx, consul.Leadership{Key: "locks/authority", Name: d.replica, Do: func(ctx context.Context, _ consul.Fence) error {
		d.leads.Store(true)
		defer d.leads.Store(false)
		<-ctx.Done()
		return nil
	}})
}

// sleep waits, and returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// keepShort shortens the log of revisions while this xdsserver leads.
func (d *Daemon) keepShort(ctx context.Context, fence consul.Fence) error {
	tick := time.NewTicker(compactEvery)
	defer tick.Stop()
	for {
		if err := d.compact(ctx, fence); err != nil && ctx.Err() == nil {
			d.logger.Warn("the log of revisions in consul is not shortened; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// announced is the registry, of which Consul is told, too.
type announced struct {
	source.Source

	announcer *announce.Announcer
}

// Run implements [source.Source].
func (a announced) Run(ctx context.Context, emit func(source.Output)) error {
	return a.Source.Run(ctx, func(out source.Output) {
		a.announcer.Set(out.Endpoints)
		emit(out)
	})
}

// elsewhere waits until the clients of other xdsservers have had the time to hear what
// this one told Consul.
func (d *Daemon) elsewhere(ctx context.Context) error {
	if d.announcer == nil {
		return nil
	}
	if err := d.announcer.Flushed(ctx); err != nil {
		return err
	}
	sleep(ctx, settleElsewhere)
	return ctx.Err()
}
