package balancer

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// fakeLocality is a locality of n endpoints that nothing is connected to.
func fakeLocality(zone string, n int) *locality {
	l := &locality{id: localityID{zone: zone}}
	for i := range n {
		address := fmt.Sprintf("10.%d.%d.%d:8080", zone[0], i/256, i%256)
		l.members = append(l.members, member{resource: &resource.Endpoint{Addresses: []string{address}}})
	}
	return l
}

func names(members []member) []string {
	names := make([]string, len(members))
	for i := range members {
		names[i] = members[i].resource.Addresses[0]
	}
	return names
}

func TestSubset(t *testing.T) {
	for _, tt := range []struct {
		name  string
		sizes []int
		n     uint32
		want  []int
	}{
		{"zero takes all", []int{10, 10}, 0, []int{10, 10}},
		{"as many as there are takes all", []int{10, 10}, 20, []int{10, 10}},
		{"some of one locality", []int{100}, 10, []int{10}},
		{"each locality keeps its part", []int{60, 30, 10}, 20, []int{12, 6, 2}},
		{"a small locality is not lost", []int{99, 1}, 10, []int{10, 1}},
		{"an empty locality stays so", []int{20, 0}, 10, []int{10, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var localities []*locality
			for i, size := range tt.sizes {
				localities = append(localities, fakeLocality(string(rune('a'+i)), size))
			}
			subset(localities, tt.n, 7)
			var got []int
			for _, l := range localities {
				got = append(got, len(l.members))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("localities keep %v, want %v", got, tt.want)
			}
		})
	}
}

func TestASubsetChangesLittle(t *testing.T) {
	const all, n = 100, 10
	members := fakeLocality("a", all).members
	for seed := range uint64(200) {
		drawn := names(subsetOf(members, n, mix(seed)))
		if again := names(subsetOf(members, n, mix(seed))); !slices.Equal(again, drawn) {
			t.Fatal("the same seed draws others")
		}
		backwards := slices.Clone(members)
		slices.Reverse(backwards)
		reversed := names(subsetOf(backwards, n, mix(seed)))
		slices.Reverse(reversed)
		if !slices.Equal(reversed, drawn) {
			t.Fatal("the order in which endpoints are given decides who is drawn")
		}
		// Each endpoint leaves in turn: who is not drawn changes nothing, and one
		// takes the place of who is.
		for i := range members {
			less := names(subsetOf(slices.Delete(slices.Clone(members), i, i+1), n, mix(seed)))
			kept := 0
			for _, name := range less {
				if slices.Contains(drawn, name) {
					kept++
				}
			}
			want := n
			if slices.Contains(drawn, names(members)[i]) {
				want--
			}
			if kept != want {
				t.Fatalf("%d of %d stay when one leaves, want %d", kept, n, want)
			}
		}
	}
}

// Clients with seeds of their own meet endpoints alike: of 1,000 with 10 of 100 each
// an endpoint has 100, give or take 9.5.
func TestSubsetsOfManyClientsCoverAll(t *testing.T) {
	const all, n, clients = 100, 10, 1000
	members := fakeLocality("a", all).members
	clientsOf := make(map[string]int)
	for seed := range uint64(clients) {
		for _, name := range names(subsetOf(members, n, mix(seed+1))) {
			clientsOf[name]++
		}
	}
	least, most := math.MaxInt, 0
	for _, name := range names(members) {
		least, most = min(least, clientsOf[name]), max(most, clientsOf[name])
	}
	t.Logf("endpoints have %d to %d clients, %d on average", least, most, clients*n/all)
	if least < 60 || most > 140 {
		t.Errorf("endpoints have %d to %d clients", least, most)
	}
}
