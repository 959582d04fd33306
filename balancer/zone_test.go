package balancer

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/balancer"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// inZones runs a play of endpoints in the client's zone and in others. Calls take 20 ms.
func inZones(t *testing.T, local, others int, play func(l *lab)) {
	t.Helper()
	inLab(t, local+others, func(l *lab) {
		for i, e := range l.endpoints {
			e.local = i < local
			e.takes = always(20 * time.Millisecond)
		}
		l.open()
		play(l)
	})
}

// away returns the share of calls that leave the zone.
func (l *lab) away(all []labResult) float64 {
	n := 0
	for _, r := range all {
		if r.endpoint != nil && !r.endpoint.local {
			n++
		}
	}
	return float64(n) / float64(max(len(all), 1))
}

func (l *lab) inUse() int { return int(l.pool.inUse.Load()) }

func TestZone(t *testing.T) {
	for _, tt := range []struct {
		name          string
		local, others int
		perSecond     float64 // 50 are one open call
		inUse         int
		within        int
	}{
		{"an idle client keeps to its zone", 3, 6, 5, 3, 0},
		{"one below the band does", 3, 6, 100, 3, 0},
		{"one within the band does", 3, 6, 220, 3, 0},
		{"above it as many others are added as are needed", 3, 6, 500, 5, 1},
		{"all are used where all are needed", 3, 6, 2000, 9, 0},
		{"without an endpoint in its zone all are used", 0, 6, 5, 6, 0},
		{"without one elsewhere there is nothing to prefer", 4, 0, 2000, 4, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inZones(t, tt.local, tt.others, func(l *lab) {
				l.work(tt.perSecond, 10*time.Second)
				if got := l.inUse(); got < tt.inUse-tt.within || got > tt.inUse+tt.within {
					t.Errorf("%d endpoints are in use, want %d give or take %d", got, tt.inUse, tt.within)
				}
			})
		})
	}
	t.Run("others are let go one by one when the load is over", func(t *testing.T) {
		inZones(t, 2, 8, func(l *lab) {
			l.work(1500, 5*time.Second)
			if l.inUse() != 10 {
				l.t.Fatalf("%d are in use under load", l.inUse())
			}
			last := l.inUse()
			for range 100 {
				l.work(50, 100*time.Millisecond)
				if now := l.inUse(); now < last-1 || now > last {
					t.Errorf("from one look to the next %d in use became %d", last, now)
				}
				last = l.inUse()
			}
			if last != 2 {
				t.Errorf("in the end %d are in use, want those of the zone", last)
			}
		})
	})
	t.Run("a stream that does nothing is no load", func(t *testing.T) {
		inZones(t, 2, 4, func(l *lab) {
			for range 100 {
				rpc := l.call()
				rpc.Stream = true
				l.pick(rpc)
			}
			l.work(20, 5*time.Second)
			if l.inUse() != 2 {
				t.Errorf("%d are in use, want 2", l.inUse())
			}
		})
	})
	t.Run("zones that are alike are used alike", func(t *testing.T) {
		inZones(t, 2, 4, func(l *lab) {
			l.config.Zone.Prefer = false
			l.open()
			if got := l.away(l.work(100, 20*time.Second)); math.Abs(got-4.0/6) > .1 {
				t.Errorf("%.2f of the calls leave the zone, want two of three", got)
			}
		})
	})
}

// Endpoints of the zone go one by one under load, and come back.
func TestZoneFailover(t *testing.T) {
	for _, way := range []struct {
		name string
		do   func(l *lab, e *fake, gone bool)
	}{
		{"by their connections", func(l *lab, e *fake, gone bool) {
			keep := l.endpoints[:0:0]
			for _, k := range l.endpoints {
				if k != e {
					keep = append(keep, k)
				}
			}
			if !gone {
				keep = append(keep, e)
			}
			l.endpoints = keep
			l.open()
		}},
		{"by outlier detection", func(l *lab, e *fake, gone bool) {
			e.node.Eject(gone)
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			inZones(t, 4, 4, func(l *lab) {
				l.config.MaxEjectedPercent = 100
				l.open()
				own := append([]*fake(nil), l.endpoints[:4]...)
				const perSecond = 350 // 7 open calls, of 8 that the zone takes
				step := func() float64 {
					if n := failures(l.work(perSecond, 3*time.Second)); n > 0 {
						t.Errorf("%d calls failed", n)
					}
					return l.away(l.work(perSecond, 5*time.Second))
				}
				away := []float64{step()}
				for _, e := range own {
					way.do(l, e, true)
					away = append(away, step())
				}
				var back []float64
				for _, e := range own {
					way.do(l, e, false)
					back = append(back, step())
				}
				t.Logf("with 4 to 0 in the zone %.2f of the calls leave it, with 1 to 4 back %.2f", away, back)
				for i, got := range away {
					if want := float64(i) / 4; math.Abs(got-want) > .2 {
						t.Errorf("with %d left %.2f leave the zone, want %.2f", 4-i, got, want)
					}
				}
				// Calls come at random: a burst may have added one of another zone, which
				// the band keeps.
				if back[3] > .25 {
					t.Errorf("with all back %.2f leave the zone", back[3])
				}
			})
		})
	}
}

func TestWhatTheZoneNeedsIsReachedAtOnce(t *testing.T) {
	inZones(t, 4, 8, func(l *lab) {
		var ends []func(balancer.DoneInfo)
		for range 8 {
			done, _ := l.pick(l.call())
			ends = append(ends, done)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		done, _ := l.pick(l.call())
		done(balancer.DoneInfo{BytesSent: true})
		if l.inUse() != 4 {
			l.t.Fatalf("with two calls open to each %d are in use", l.inUse())
		}
		l.endpoints = l.endpoints[3:]
		l.open()
		if l.inUse() < 3 {
			t.Errorf("with one left %d are in use, want what eight calls need less those that went with their endpoints", l.inUse())
		}
		for _, done := range ends {
			done(balancer.DoneInfo{BytesSent: true})
		}
	})
}

func TestTheOrderOfOtherZonesIsTheProcesss(t *testing.T) {
	config := resource.DefaultBalancing()
	p := &priority{}
	for _, zone := range []string{"a", "b", "c"} {
		l := &locality{id: localityID{zone: zone}, local: zone == "b", state: 2}
		for _, host := range []string{"1", "2", "3", "4"} {
			l.members = append(l.members, member{
				endpoint: &endpoint{state: 2},
				resource: &resource.Endpoint{Weight: 1},
				node:     NewNode(zone + host),
			})
		}
		p.localities = append(p.localities, l)
	}
	first := p.ready(&config)
	mixed := false
	for i, m := range first {
		if m.Local != (i < 4) {
			t.Errorf("member %d is local: %v", i, m.Local)
		}
		mixed = mixed || i >= 4 && m.Node.Address != []string{"a1", "a2", "a3", "a4", "c1", "c2", "c3", "c4"}[i-4]
	}
	if !mixed {
		t.Error("the others are in the order in which they were given")
	}
	p.localities[0], p.localities[2] = p.localities[2], p.localities[0]
	for i, m := range p.ready(&config) {
		if m.Node != first[i].Node {
			t.Fatal("the order depends on that in which they are given")
		}
	}
}
