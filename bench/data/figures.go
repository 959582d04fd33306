package data

import (
	"github.com/tulle-mesh/tulle/bench/report"
)

// figures adds what budgets stand for.
func (r *run) figures(saturated, near, half, single map[string][]round, memory map[string]footprint) {
	over := func(got map[string][]round, other string, f func(round) float64) report.Sample {
		return sample(got[tulleMode], f).Over(sample(got[other], f))
	}
	r.add("data.throughput", "throughput at saturation, Tulle / plain mTLS", over(near, baseline, rate))
	r.add("data.cpu", "CPU of a call at saturation, Tulle / plain mTLS", over(near, baseline, round.cpu))
	r.add("data.p50", "p50 at half load, Tulle / plain mTLS", over(half, baseline, p50))
	r.add("data.p99", "p99 at half load, Tulle / plain mTLS", over(half, baseline, p99))
	r.add("data.allocs", "allocations added to a call, Tulle", sample(near[tulleMode], allocs).Less(sample(near[baseline], allocs)))
	r.add("data.xds", "throughput at saturation, Tulle / grpc-go xDS with OpenTelemetry", over(saturated, otelMode, rate))
	for _, proxy := range []struct{ key, name, mode string }{{"envoy", "Envoy pair", envoyMode}, {"haproxy", "HAProxy pair", haproxyMode}} {
		if saturated[proxy.mode] == nil {
			continue
		}
		r.add("data."+proxy.key+"_cpu", "CPU added to a call, "+proxy.name+" / Tulle",
			added(saturated[proxy.mode], saturated[baseline], near[tulleMode], near[baseline], round.cpu, cpuResolution))
		r.add("data."+proxy.key+"_p50", "p50 added with one caller, "+proxy.name+" / Tulle",
			added(single[proxy.mode], single[baseline], single[tulleMode], single[baseline], p50, latencyResolution))
		base := memory[baseline].perService()
		r.add("data."+proxy.key+"_memory", "memory added to a process, "+proxy.name+" / Tulle",
			report.Sample{(memory[proxy.mode].perService() - base) / max(memory[tulleMode].perService()-base, memoryResolution)})
	}
	r.out.Charts = append(r.out.Charts, r.cpuChart(saturated), r.latencyChart(single))
}

// What Tulle adds is about what two runs of one mode differ by, and can come out as
// nothing. What it is divided into is then what can be told apart at least, in
// microseconds and bytes.
const (
	cpuResolution     = 0.25
	latencyResolution = 1
	memoryResolution  = 1 << 18
)

// added is by how much more a proxy adds to the baseline than Tulle does, where both may
// have had rounds of their own. Tulle's part is the median over the rounds, since that of a
// single round may be nothing.
func added(proxy, besideProxy, tulle, besideTulle []round, f func(round) float64, resolution float64) report.Sample {
	by := max(sample(tulle, f).Less(sample(besideTulle, f)).Spread().Median, resolution)
	s := sample(proxy, f).Less(sample(besideProxy, f))
	for i := range s {
		s[i] /= by
	}
	return s
}

func allocs(r round) float64 { return r.clientAllocs + r.serverAllocs }

func (r *run) add(key, name string, s report.Sample) {
	if len(s) > 0 {
		r.out.Figures = append(r.out.Figures, report.Figure{Key: key, Name: name, Value: s.Spread()})
	}
}

func (r *run) cpuChart(got map[string][]round) report.Chart {
	c := report.Chart{File: "data-cpu", Title: "CPU of a unary call of 1 KB, 64 callers", Unit: "us"}
	series := []report.Series{{Name: "client"}, {Name: "server"}, {Name: "proxies"}}
	for _, l := range r.whole(func(*lane) bool { return true }) {
		c.Labels = append(c.Labels, l.name)
		of := got[l.name]
		for i, f := range []func(round) float64{
			func(r round) float64 { return r.clientCPU }, func(r round) float64 { return r.serverCPU }, func(r round) float64 { return r.proxyCPU },
		} {
			series[i].Values = append(series[i].Values, sample(of, f).Spread().Median)
		}
	}
	c.Series = series
	return c
}

func (r *run) latencyChart(got map[string][]round) report.Chart {
	c := report.Chart{File: "data-latency", Title: "Latency of a unary call of 1 KB, one caller, p50", Unit: "us", Series: []report.Series{{Name: "p50"}}}
	for _, l := range r.whole(func(*lane) bool { return true }) {
		c.Labels = append(c.Labels, l.name)
		c.Series[0].Values = append(c.Series[0].Values, sample(got[l.name], p50).Spread().Median)
	}
	return c
}
