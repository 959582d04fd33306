package balancer

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// subsetSeed is what makes this process draw other endpoints than the next one. All
// its connections draw the same, so that they meet the same endpoints.
var subsetSeed = rand.Uint64()

// subset leaves n endpoints in the localities of a priority, or as many as there
// are; zero leaves all. Each locality keeps its part of them, rounded up: shares by
// locality mean the same to each client, and one that prefers its zone finds some
// there. Lower makes fewer connections; higher spreads calls more evenly, for of
// C clients with n endpoints each an endpoint has C*n/N, give or take its root.
func subset(localities []*locality, n uint32, seed uint64) {
	all := 0
	for _, l := range localities {
		all += len(l.members)
	}
	if n == 0 || int(n) >= all {
		return
	}
	for _, l := range localities {
		l.members = subsetOf(l.members, (int(n)*len(l.members)+all-1)/all, seed)
	}
}

// subsetOf returns the n members that rank first by the hash of address and seed,
// in the order in which they were given (gRFC A68). An endpoint that comes or goes
// so changes one of them at most, and only where it ranks among them.
func subsetOf(members []member, n int, seed uint64) []member {
	if n >= len(members) {
		return members
	}
	type ranked struct {
		rank  uint64
		index int
	}
	ranks := make([]ranked, len(members))
	for i := range members {
		ranks[i] = ranked{rank: mix(resource.HashKey(members[i].resource.Addresses[0]) ^ seed), index: i}
	}
	slices.SortFunc(ranks, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.index, b.index))
	})
	ranks = ranks[:n]
	slices.SortFunc(ranks, func(a, b ranked) int { return cmp.Compare(a.index, b.index) })
	kept := make([]member, n)
	for i, r := range ranks {
		kept[i] = members[r.index]
	}
	return kept
}

// mix makes each bit of the result depend on every bit of x (splitmix64's
// finalizer), so that two seeds rank endpoints in orders that have nothing to do
// with each other.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
