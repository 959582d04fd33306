package balancer

import (
	"math"
	"testing"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A fakeReport is what an endpoint says of its load.
type fakeReport struct{ application, cpu, qps, eps float64 }

func (r fakeReport) GetApplicationUtilization() float64 { return r.application }
func (r fakeReport) GetCpuUtilization() float64         { return r.cpu } //nolint:staticcheck // protobuf names it
func (r fakeReport) GetRpsFractional() float64          { return r.qps }
func (r fakeReport) GetEps() float64                    { return r.eps }

func TestWhatAReportComesTo(t *testing.T) {
	config := resource.WeightedRoundRobinConfig{WeightExpirationPeriod: time.Minute, ErrorUtilizationPenalty: 2}
	for _, tt := range []struct {
		name                string
		report              any
		utilization, weight float64
	}{
		{"no report", nil, 0, 0},
		{"what is no report", 7, 0, 0},
		{"a report that says nothing", fakeReport{}, 0, 0},
		{"the application's utilization", fakeReport{application: 0.5, cpu: 0.1, qps: 100}, 0.5, 200},
		{"the processors' where the application has none", fakeReport{cpu: 0.25, qps: 100}, 0.25, 400},
		{"errors make it lighter", fakeReport{application: 0.5, qps: 100, eps: 25}, 0.5, 100},
		{"a utilization without calls is no weight", fakeReport{application: 0.5}, 0.5, 0},
		{"calls without utilization are no weight", fakeReport{qps: 100}, 0, 0},
		{"an endpoint may do more than it can", fakeReport{application: 1.25, qps: 100}, 1.25, 80},
		{"a negative utilization is nonsense", fakeReport{application: -1, qps: 100}, 0, 0},
		{"and so is one that is no number", fakeReport{application: math.NaN(), qps: 100}, 0, 0},
		{"or infinite", fakeReport{application: math.Inf(1), qps: 100}, 0, 0},
		{"negative calls are none", fakeReport{application: 0.5, qps: -1}, 0.5, 0},
		{"infinite calls are none", fakeReport{application: 0.5, qps: math.Inf(1)}, 0.5, 0},
		{"errors that are no number are none", fakeReport{application: 0.5, qps: 100, eps: math.NaN()}, 0.5, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l orcaLoad
			l.observe(tt.report, 1)
			if got := l.utilization(2, time.Minute); got != tt.utilization {
				t.Errorf("utilization = %v, want %v", got, tt.utilization)
			}
			if got := l.weight(2, &config); got != tt.weight {
				t.Errorf("weight = %v, want %v", got, tt.weight)
			}
		})
	}
}

func TestWhenAReportCounts(t *testing.T) {
	const second = int64(time.Second)
	config := resource.WeightedRoundRobinConfig{
		BlackoutPeriod:         10 * time.Second,
		WeightExpirationPeriod: time.Minute,
	}
	report := fakeReport{application: 0.5, qps: 100}
	var l orcaLoad
	expect := func(at int64, want float64) {
		t.Helper()
		if got := l.weight(at, &config); got != want {
			t.Errorf("the weight at %v is %v, want %v", time.Duration(at), got, want)
		}
	}
	l.observe(report, second)
	expect(second, 0)
	l.observe(report, 5*second)
	expect(11*second-1, 0)
	expect(11*second, 200) // the first came ten seconds ago
	expect(65*second-1, 200)
	if got := l.utilization(65*second-1, time.Minute); got != 0.5 {
		t.Errorf("the utilization is %v before it expires, want 0.5", got)
	}
	if got := l.utilization(65*second, time.Minute); got != 0 {
		t.Errorf("the utilization is %v after it expired", got)
	}
	expect(65*second, 0) // the last came a minute ago

	l.observe(report, 70*second) // and a row of its own begins
	expect(80*second-1, 0)
	expect(80*second, 200)

	// A report without calls leaves the weight.
	l.observe(fakeReport{application: 0.9}, 81*second)
	expect(81*second, 200)
	if got := l.utilization(81*second, time.Minute); got != 0.9 {
		t.Errorf("the utilization is %v, want the last", got)
	}

	l.forget()
	expect(82*second, 0)
}

func TestAnEndOfACallWithoutReportCostsNothing(t *testing.T) {
	var l orcaLoad
	info := balancer.DoneInfo{Trailer: metadata.MD{}}
	if got := testing.AllocsPerRun(1000, func() { l.observe(info.ServerLoad, 1) }); got != 0 {
		t.Errorf("%g allocations", got)
	}
}

func BenchmarkObserveNoReport(b *testing.B) {
	var l orcaLoad
	var none any = (*nilReport)(nil)
	b.ReportAllocs()
	for b.Loop() {
		l.observe(none, 1)
	}
}

// A nilReport is as a report that is not there: grpc-go hands on a pointer of its type.
type nilReport struct{ fakeReport }

func (r *nilReport) GetApplicationUtilization() float64 { return 0 }
func (r *nilReport) GetCpuUtilization() float64         { return 0 } //nolint:staticcheck // protobuf names it
