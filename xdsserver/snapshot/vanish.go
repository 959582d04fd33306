package snapshot

import (
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// lingerFor is how long endpoints stay after the last route that led to them
	// was changed, or until the first Build after that: a client that hears of them
	// before it hears of the new route must not find none.
	lingerFor = 10 * time.Second
	// buriedFor is how long a cluster that is gone is published without endpoints.
	// Deletion is by intent: a resource that is merely missing makes no client
	// drop it, since a control plane that lost its memory looks the same.
	buriedFor = time.Hour
	// maxVanished bounds what is kept of clusters that are gone. Those beyond it
	// are merely missing.
	maxVanished = 20_000
)

// vanished is a ClusterLoadAssignment that nothing makes any more.
type vanished struct {
	resource        *Resource
	emptyAt, dropAt time.Time
	empty           bool
}

// bury adds to the assembly the assignments that are gone from it.
func (b *Builder) bury(a *assembly, now time.Time) {
	for name, r := range a.last[assignments] {
		if a.now[assignments][name] != nil || b.vanished[name] != nil || len(b.vanished) >= maxVanished {
			continue
		}
		v := &vanished{resource: r, emptyAt: now, dropAt: now.Add(buriedFor)}
		if a.left(name) {
			v.emptyAt = now.Add(lingerFor)
		}
		b.vanished[name] = v
	}
	for name, v := range b.vanished {
		if a.now[assignments][name] != nil || !now.Before(v.dropAt) {
			delete(b.vanished, name)
			continue
		}
		if !v.empty && !now.Before(v.emptyAt) {
			v.empty = true
			v.resource = emptyAssignment(name)
		}
		a.now[assignments][name] = v.resource
	}
}

// left reports whether routes that are still published led to the cluster until
// now, and none do any more.
func (a *assembly) left(cluster string) bool {
	left := false
	for name, r := range a.now[routes] {
		if r.leadsTo(cluster) {
			return false
		}
		before := a.last[routes][name]
		left = left || before != nil && before.leadsTo(cluster)
	}
	return left
}

func (r *Resource) leadsTo(cluster string) bool {
	_, found := slices.BinarySearch(r.routesTo, cluster)
	return found
}

// emptyAssignment has a cluster's name, the message's first field, and nothing else.
func emptyAssignment(name string) *Resource {
	value := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), name)
	return newResource(typeURLs[assignments], name, value)
}
