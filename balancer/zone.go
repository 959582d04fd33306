package balancer

import (
	"math"
	"time"

	"google.golang.org/grpc/attributes"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

type zoneKey struct{}

// A zone is where a client is.
type zone struct{ region, name string }

// WithZone returns attributes, which may be nil, for a resolver.State whose connection
// is made by a client in a zone of a region. Clusters that prefer the client's zone
// send calls to it while its endpoints are not loaded above the cluster's band; a
// connection without it takes all zones alike. An empty zone is none.
func WithZone(attrs *attributes.Attributes, region, name string) *attributes.Attributes {
	return attrs.WithValue(zoneKey{}, zone{region: region, name: name})
}

func zoneFrom(attrs *attributes.Attributes) zone {
	z, _ := attrs.Value(zoneKey{}).(zone)
	return z
}

// has is whether a locality is in the zone.
func (z zone) has(l *resource.Locality) bool {
	return z.name != "" && z.name == l.Zone && z.region == l.Region
}

// A band keeps as many endpoints in use as keep the open calls to each of them within
// Low and High: those of the client's own zone, and of others what it takes (Linkerd's
// HAZL). Above High it adds at once as many as are needed; below Low it lets one go at
// a time. Streams are no load here: one may be open for days and do nothing.
//
// Low must be less than half of High, or of two endpoints one that is let go would be
// needed again.
type band struct {
	load   float64 // open calls to all, smoothed
	at     int64   // of load
	wanted int     // endpoints in use that are not out
	local  int     // of the client's zone that are not out
	letGo  int64
}

const (
	// looks is the least time between two looks at the load, memory its time constant.
	// Calls are counted when others begin, so that an idle client is not looked at.
	looks, memory = 50 * time.Millisecond, time.Second
	// letGoEvery is how often an endpoint is let go.
	letGoEvery = 250 * time.Millisecond
)

// follow returns how many of the pool's members, the first, are in use from now on.
// Caller holds the watch's mu.
func (b *band) follow(p *Pool, now int64) int {
	if !p.zoned {
		return len(p.members)
	}
	p.watch.later(now + int64(often))
	if b.at == 0 || now-b.at >= int64(looks) {
		b.look(p, now)
	}
	local := 0
	for i := range p.members {
		if m := &p.members[i]; m.Local && !m.Node.out.Load() {
			local++
		}
	}
	b.want(local, &p.config.Zone, now)
	if local == 0 {
		return len(p.members) // there is no zone to prefer
	}
	n := 0
	for i := range p.members {
		if n >= b.wanted && !p.members[i].Local {
			return i
		}
		if !p.members[i].Node.out.Load() {
			n++
		}
	}
	return len(p.members)
}

func (b *band) look(p *Pool, now int64) {
	open := 0
	for i := range p.members {
		n := p.members[i].Node
		open += max(n.Open()-n.Streams(), 0)
	}
	if b.at == 0 {
		b.load = float64(open)
	} else {
		b.load += (float64(open) - b.load) * (1 - math.Exp(-float64(now-b.at)/float64(memory)))
	}
	b.at = now
}

// want decides how many endpoints are needed.
func (b *band) want(local int, z *resource.Zone, now int64) {
	// Where endpoints of the own zone come, they take the place of others, and of those
	// the band would hold on to only what the load needs is kept; where they go, those of
	// others that are needed are so for their load, below.
	if local > b.local {
		b.wanted = min(b.wanted, max(local, int(math.Ceil(b.load/z.High))))
	} else {
		b.wanted = min(b.wanted, local+max(b.wanted-b.local, 0))
	}
	b.local = local
	b.wanted = max(b.wanted, local, 1)
	switch n := float64(b.wanted); {
	case b.load > n*z.High:
		b.wanted = int(math.Ceil(b.load / z.High))
	case b.load < n*z.Low && b.wanted > max(local, 1) && now-b.letGo >= int64(letGoEvery):
		b.wanted--
		b.letGo = now
	}
}
