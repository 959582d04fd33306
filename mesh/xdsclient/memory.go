package xdsclient

import (
	"context"
	"slices"
	"time"
)

const (
	// saveGap is the least time between two writes of the disk cache: changes
	// within it are one write.
	saveGap = time.Second
	// saveBurst is how long a change waits for those that come with it.
	saveBurst = 100 * time.Millisecond
	// saveRetry is how long a disk that failed is left alone.
	saveRetry = 30 * time.Second
	// saveAtLeast is how often the cache is written although nothing has
	// changed, so that what is in use looks used after a crash.
	saveAtLeast = 24 * time.Hour
	// forgetAfter is how long a resource is remembered that nobody uses.
	forgetAfter = 7 * 24 * time.Hour
	// maxMemory bounds the encoded bytes of what is remembered and not in use,
	// and so the disk cache. The longest unused leave first.
	maxMemory = 64 << 20
)

// A key names a resource.
type key struct{ typeURL, name string }

// An entry is the last accepted form of a resource, in use or not.
type entry struct {
	key
	version string
	value   []byte // immutable
	// confirmed is when a server last held it to be current, used when somebody
	// was last interested in it.
	confirmed, used time.Time
}

// confirmedAt is since when the entry is stale; now, for one that never was
// written down.
func (e *entry) confirmedAt() time.Time {
	if e == nil || e.confirmed.IsZero() {
		return time.Now()
	}
	return e.confirmed
}

// size is about what the entry takes on disk.
func (e *entry) size() int { return len(e.typeURL) + len(e.name) + len(e.version) + len(e.value) + 32 }

// remember keeps what r has just accepted; changed is false when its bytes and
// version are those remembered already. c.mu is held.
func (c *Client) remember(r *resource, changed bool) {
	k, now := c.keyOf(r), time.Now()
	if e := c.memory[k]; e != nil && !changed {
		e.confirmed, e.used = now, now
		return
	}
	c.memory[k] = &entry{key: k, version: r.good.version, value: r.good.bytes, confirmed: now, used: now}
	c.wakeSaver.set()
}

// touch notes that r is in use and, unless it is stale, that a server has been
// confirming it until it went away. c.mu is held.
func (c *Client) touch(r *resource, now time.Time) {
	e := c.memory[c.keyOf(r)]
	if e == nil {
		return
	}
	e.used = now
	if r.used && !r.state.Load().Stale {
		e.confirmed = now
		if !c.live() {
			e.confirmed = c.since
		}
	}
}

// remembered returns copies of all entries, after those have left that nobody
// used for a week or that there is no room for.
func (c *Client) remembered(now time.Time) []entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, table := range c.tables {
		for _, r := range table {
			c.touch(r, now)
		}
	}
	c.prune(now)
	out := make([]entry, 0, len(c.memory))
	for _, e := range c.memory {
		out = append(out, *e)
	}
	return out
}

// prune drops entries that are not in use: those too long unused, and the
// longest unused while there are too many. c.mu is held.
func (c *Client) prune(now time.Time) {
	var idle []*entry
	size := 0
	for k, e := range c.memory {
		size += e.size()
		if typ, ok := c.index[k.typeURL]; ok && c.tables[typ][k.name] != nil {
			continue
		}
		idle = append(idle, e)
	}
	slices.SortFunc(idle, func(a, b *entry) int { return a.used.Compare(b.used) })
	for _, e := range idle {
		if now.Sub(e.used) < forgetAfter && size <= maxMemory && len(c.memory) <= maxResources {
			return
		}
		size -= e.size()
		delete(c.memory, e.key)
	}
}

// load fills the memory from the disk cache. A cache that cannot be used is
// ignored, with one warning that says why.
func (c *Client) load() {
	entries, err := c.disk.read(service(c.node))
	if err != nil {
		c.logger.Warn("disk cache ignored, it will be written anew", "file", c.disk.path, "error", err)
		return
	}
	now := time.Now()
	for i := range entries {
		e := &entries[i]
		if e.used.After(now) {
			e.used = now // written under a clock that was ahead
		}
		if e.confirmed.After(now) {
			e.confirmed = now
		}
		c.memory[e.key] = e
	}
	c.loaded = len(entries) > 0
}

// saveOnChange writes the disk cache after changes until ctx ends.
func (c *Client) saveOnChange(ctx context.Context) error {
	for {
		if err := c.awaitChange(ctx); err != nil {
			return err
		}
		gap := saveGap
		if !c.save() {
			gap = saveRetry
		}
		if err := pause(ctx, gap); err != nil {
			return err
		}
	}
}

// awaitChange waits until something has changed, and then for what comes with
// it: configuration arrives in bursts.
func (c *Client) awaitChange(ctx context.Context) error {
	timer := time.NewTimer(saveAtLeast)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	case <-c.wakeSaver:
		return pause(ctx, saveBurst)
	}
}

// save drops what is too old and writes the rest to the disk, where there is
// one. It reports false when the disk failed, and says so once until it works
// again: what is in memory is used all the same.
func (c *Client) save() bool {
	entries := c.remembered(time.Now())
	if c.disk == nil || len(entries) == 0 {
		return true
	}
	err := c.disk.write(service(c.node), entries)
	switch {
	case err != nil && !c.diskFailed:
		c.logger.Warn("disk cache cannot be written, a restart without a server would begin with nothing",
			"file", c.disk.path, "error", err)
	case err == nil && c.diskFailed:
		c.logger.Info("disk cache is written again", "file", c.disk.path)
	}
	c.diskFailed = err != nil
	if err != nil {
		c.wakeSaver.set()
	}
	return err == nil
}
