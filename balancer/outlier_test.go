package balancer

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// nopPicker picks a connection that is nobody's.
type nopPicker struct{}

func (nopPicker) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	return balancer.PickResult{}, nil
}

// fakeMembers are n members of weight one.
func fakeMembers(n int) []Member {
	members := make([]Member, n)
	for i := range members {
		address := fmt.Sprintf("10.0.%d.%d:8080", i/256, i%256)
		members[i] = Member{
			Endpoint: &resource.Endpoint{Addresses: []string{address}, Weight: 1},
			Picker:   nopPicker{},
			Node:     NewNode(address),
			Local:    true,
		}
	}
	return members
}

func nodeOf(members []Member, address string) *Node {
	return members[slices.IndexFunc(members, func(m Member) bool { return m.Node.Address == address })].Node
}

// A trial is a detector of nodes whose calls a test makes up, at times it makes up.
type trial struct {
	t        *testing.T
	detector *detector
	config   resource.Balancing
	nodes    []*Node
	now      int64
}

func newTrial(t *testing.T, n int, outlier resource.OutlierDetection) *trial {
	t.Helper()
	outlier.Interval, outlier.BaseEjectionTime, outlier.MaxEjectionTime = 10*time.Second, 30*time.Second, 90*time.Second
	tr := &trial{t: t, config: resource.DefaultBalancing(), now: int64(time.Hour)}
	tr.config.Outlier = &outlier
	for _, m := range fakeMembers(n) {
		tr.nodes = append(tr.nodes, m.Node)
	}
	tr.detector = newDetector(nil, &tr.config, tr.nodes, tr.now)
	return tr
}

// calls makes 100 calls to each node, of which so many fail.
func (tr *trial) calls(failed ...int) {
	for i, f := range failed {
		for k := range 100 {
			tr.nodes[i].tally.count(k < f)
		}
	}
}

// pass lets time pass, and a pick come then.
func (tr *trial) pass(d time.Duration) {
	tr.now += int64(d)
	tr.detector.tick(tr.now)
}

// expect compares which nodes are ejected.
func (tr *trial) expect(want ...int) {
	tr.t.Helper()
	var got []int
	for i, n := range tr.nodes {
		if n.ejected.Load() {
			got = append(got, i)
		}
	}
	if !slices.Equal(got, want) {
		tr.t.Errorf("ejected are %v, want %v", got, want)
	}
}

var (
	byRate    = resource.OutlierDetection{SuccessRate: &resource.OutlierSuccessRate{StdevFactor: 1900, MinimumHosts: 5, RequestVolume: 100}}
	byPercent = resource.OutlierDetection{FailurePercentage: &resource.OutlierFailurePercentage{Threshold: 85, MinimumHosts: 5, RequestVolume: 50}}
)

func TestWhoIsAnOutlier(t *testing.T) {
	for _, tt := range []struct {
		name    string
		outlier resource.OutlierDetection
		failed  []int // of 100 calls to each
		percent uint32
		want    []int
	}{
		{"where all are well nobody is", byRate, []int{0, 0, 0, 0, 0}, 50, nil},
		{"one that does worse than the others is", byRate, []int{0, 1, 0, 40, 2}, 50, []int{3}},
		{"where all are alike bad nobody is", byRate, []int{90, 90, 90, 90, 90}, 50, nil},
		{"of four nothing can be said", byRate, []int{0, 0, 0, 40}, 50, nil},
		{"more than the threshold fail", byPercent, []int{0, 86, 0, 0, 0}, 50, []int{1}},
		{"as many as the threshold fail", byPercent, []int{0, 85, 0, 0, 0}, 50, nil},
		{"all fail, and half may be out", byPercent, []int{100, 100, 100, 100, 100, 100}, 50, []int{0, 1, 2}},
		{"never more than may be", byPercent, []int{100, 100, 100, 100, 100}, 50, []int{0, 1}},
		{"none where none may be", byPercent, []int{0, 100, 0, 0, 0}, 0, nil},
		{"all where all may be", byPercent, []int{100, 100, 100, 100, 100}, 100, []int{0, 1, 2, 3, 4}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrial(t, len(tt.failed), tt.outlier)
			tr.config.MaxEjectedPercent = tt.percent
			newDetector(tr.detector, &tr.config, tr.nodes, tr.now)
			tr.calls(tt.failed...)
			tr.pass(10*time.Second - 1)
			tr.expect()
			tr.pass(1)
			tr.expect(tt.want...)
		})
	}
}

func TestFewCallsMakeNoOutlier(t *testing.T) {
	tr := newTrial(t, 6, byPercent)
	for range 49 {
		tr.nodes[0].tally.count(true)
	}
	for i := 1; i < 6; i++ {
		for range 50 {
			tr.nodes[i].tally.count(false)
		}
	}
	tr.pass(10 * time.Second)
	tr.expect()
	for _, n := range tr.nodes { // of the next interval the first 49 are not
		n.tally.count(true)
	}
	tr.pass(10 * time.Second)
	tr.expect()
}

func TestAnOpenBreakerCountsForTheShareThatMayBeOut(t *testing.T) {
	tr := newTrial(t, 6, byPercent)
	tr.nodes[4].out.Store(true)
	tr.nodes[5].out.Store(true)
	tr.calls(100, 100, 0, 0, 0, 0)
	tr.pass(10 * time.Second)
	tr.expect(0)
}

func TestAnEjectionEnds(t *testing.T) {
	tr := newTrial(t, 5, byPercent)
	bad := func() {
		tr.calls(100, 0, 0, 0, 0)
		tr.pass(10 * time.Second)
		tr.expect(0)
	}
	// for is how long it stays ejected, by picks now and then.
	lasts := func(d time.Duration) {
		t.Helper()
		for d > 10*time.Second {
			tr.pass(10 * time.Second)
			tr.expect(0)
			d -= 10 * time.Second
		}
		tr.pass(d - 1)
		tr.expect(0)
		tr.pass(1)
		tr.expect()
	}
	bad()
	lasts(30 * time.Second)
	bad()
	lasts(60 * time.Second)
	bad()
	lasts(90 * time.Second)
	bad()
	lasts(90 * time.Second) // and no longer

	// Each interval without makes the next one shorter.
	tr.pass(10 * time.Second)
	tr.pass(10 * time.Second)
	tr.pass(10 * time.Second)
	bad()
	lasts(60 * time.Second)
}

func TestAFallAsleepIsCaughtUpWith(t *testing.T) {
	// A client that stops calling judges what it saw as of then.
	tr := newTrial(t, 5, byPercent)
	tr.calls(100, 0, 0, 0, 0)
	tr.pass(39 * time.Second)
	tr.expect(0) // since the tenth second, to the fortieth
	tr.pass(time.Second)
	tr.expect()

	tr.calls(100, 0, 0, 0, 0)
	tr.pass(time.Hour)
	tr.expect() // long over
	if h := tr.detector.hosts[0]; h.times != 0 {
		t.Errorf("it is remembered for %d ejections, after an hour without", h.times)
	}
	if due := tr.detector.due.Load(); due <= tr.now || due > tr.now+int64(10*time.Second) {
		t.Errorf("the next interval ends in %v", time.Duration(due-tr.now))
	}
}

func TestADetectorFollowsTheCluster(t *testing.T) {
	tr := newTrial(t, 5, byPercent)
	tr.calls(100, 0, 0, 0, 0)
	tr.pass(10 * time.Second)
	tr.expect(0)

	// An endpoint joins; who is ejected stays so.
	tr.nodes = append(tr.nodes, NewNode("10.0.1.1:8080"))
	tr.detector = newDetector(tr.detector, &tr.config, tr.nodes, tr.now)
	tr.pass(10 * time.Second)
	tr.expect(0)

	tr.config.Outlier = nil
	if d := newDetector(tr.detector, &tr.config, tr.nodes, tr.now); d != nil {
		t.Error("there is a detector where none is asked for")
	}
	tr.expect()
	var none *detector
	none.tick(tr.now)
}

// What a pool ejects gets no calls; what the process did itself ejects nobody.
func TestAPoolEjectsOutliers(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		info balancer.DoneInfo
		want bool
	}{
		{"an endpoint's failures", status.Error(codes.Unavailable, "down"), balancer.DoneInfo{BytesSent: true, BytesReceived: true}, true},
		{"an endpoint's answers", status.Error(codes.NotFound, "no such thing"), balancer.DoneInfo{BytesSent: true, BytesReceived: true}, false},
		{"calls that were cancelled", status.Error(codes.Canceled, "context canceled"), balancer.DoneInfo{BytesSent: true}, false},
		{"calls that were not sent", status.Error(codes.Unavailable, "closing"), balancer.DoneInfo{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := resource.StandardBalancing(resource.RoundRobin)
				config.Outlier = &resource.OutlierDetection{
					Interval: time.Second, BaseEjectionTime: time.Hour,
					FailurePercentage: &resource.OutlierFailurePercentage{Threshold: 85, MinimumHosts: 5, RequestVolume: 10},
				}
				members := fakeMembers(5)
				bad := members[0].Node
				p := NewPool(&config, members)
				var lately uint64
				for i := range 1000 {
					before := bad.Calls()
					result, err := p.Pick(balancer.PickInfo{}, nil)
					if err != nil {
						t.Fatal(err)
					}
					info := balancer.DoneInfo{BytesSent: true, BytesReceived: true}
					if bad.Calls() != before {
						info = tt.info
						info.Err = tt.err
						if i >= 500 {
							lately++
						}
					}
					result.Done(info)
					time.Sleep(10 * time.Millisecond)
				}
				if got := lately == 0; got != tt.want {
					t.Errorf("ejected = %t, want %t: the endpoint got %d of the last 500 calls", got, tt.want, lately)
				}
			})
		})
	}
}

func BenchmarkDetectorNotDue(b *testing.B) {
	config := resource.DefaultBalancing()
	outlier := byRate
	outlier.Interval = time.Hour
	config.Outlier = &outlier
	d := newDetector(nil, &config, nil, 1)
	b.ReportAllocs()
	for b.Loop() {
		d.tick(2)
	}
}
