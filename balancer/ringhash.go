package balancer

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// maxSteps bounds the walk along the ring. Entries of a member lie anywhere, so
// where one member in ten is admitted, one walk in 10^11 finds none.
const maxSteps = 256

// RingHash sends calls of one key to one member (gRFC A42): the one whose entry on
// the ring is the next after the key's hash or, while that one is not admitted, the
// next that is. A call without a key goes to a random place of the ring.
//
// The ring is the one that gRFC A42 and Envoy build of the same endpoints: a stock
// client, and one whose endpoints come in another order, send a key where we do.
// So zones are alike here: a key that went elsewhere from each would have no one place.
// That has its price. Entries per member follow from MinSize and the number of
// members, so where few members have many entries, one that leaves moves the keys
// it had (1/n), and as many again among the others; where the number of entries
// stays, as from 99 to 100 members, nobody else's.
func RingHash(config *resource.Balancing, members []Member) Chooser {
	return &ringHash{points: newRing(config.RingHash, members)}
}

type ringHash struct{ points []point }

// A point is an entry of the ring.
type point struct {
	hash   uint64
	member int32
}

// Choose implements [Chooser].
func (r *ringHash) Choose(c Choice) int {
	var hash uint64
	if c.Call != nil && c.Call.Hashed {
		hash = c.Call.Hash
	} else {
		hash = rand.Uint64()
	}
	at := sort.Search(len(r.points), func(i int) bool { return r.points[i].hash >= hash })
	for range min(len(r.points), maxSteps) {
		if at == len(r.points) {
			at = 0
		}
		if i := int(r.points[at].member); c.Admits(i) {
			return i
		}
		at++
	}
	return -1
}

// newRing builds the ring: as many entries as make the member of the least weight
// have a whole number, MaxSize at most, shared by weight.
func newRing(config resource.RingHashConfig, members []Member) []point {
	if len(members) == 0 {
		return nil
	}
	var sum, least float64
	order := make([]int, len(members)) // by key: the shares are rounded in this order
	for i := range members {
		order[i] = i
		weight := weightOf(&members[i])
		sum += weight
		if i == 0 || weight < least {
			least = weight
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Compare(members[a].Endpoint.Addresses[0], members[b].Endpoint.Addresses[0])
	})
	least /= sum
	scale := min(math.Ceil(least*float64(config.MinSize))/least, float64(config.MaxSize))

	points := make([]point, 0, int(math.Ceil(scale)))
	var have, want float64
	key := make([]byte, 0, 64)
	for _, i := range order {
		key = append(append(key[:0], members[i].Endpoint.Addresses[0]...), '_')
		prefix := len(key)
		want += scale * (weightOf(&members[i]) / sum)
		for n := int64(0); have < want; n++ {
			key = strconv.AppendInt(key[:prefix], n, 10)
			points = append(points, point{hash: resource.HashKey(string(key)), member: int32(i)})
			have++
		}
	}
	slices.SortStableFunc(points, func(a, b point) int { return cmp.Compare(a.hash, b.hash) })
	return points
}

func weightOf(m *Member) float64 { return float64(max(m.Endpoint.Weight, 1)) }
