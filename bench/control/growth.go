package control

import (
	"math"
	"slices"

	"github.com/tulle-mesh/tulle/bench/report"
)

// A curve is how a cost grows with something.
type curve struct {
	name, file, title, unit, xName string
	of                             func(bout) bool
	x                              func(bout) int
	y                              func(*result) report.Sample
}

func totalCPU(r *result) report.Sample {
	total := make(report.Sample, 0, len(r.endpoint.cpu))
	for _, us := range r.endpoint.cpu {
		total = append(total, us*float64(r.streams)/1000)
	}
	return total
}

func ofStreams(f *form) func(bout) bool {
	return func(b bout) bool { return b.form == f && b.world == plain }
}

func streams(b bout) int { return b.streams }

const (
	byStreams = "streams"
	ofCPU     = "ms of CPU"
)

var curves = []curve{
	{
		name: "CPU of an endpoint change, by streams", file: "control-cpu",
		title: "Server CPU of one endpoint change", unit: ofCPU, xName: byStreams,
		of: ofStreams(sotw), x: streams, y: totalCPU,
	},
	{
		name: "the same, delta", file: "control-cpu-delta",
		title: "Server CPU of one endpoint change, delta", unit: ofCPU, xName: byStreams,
		of: ofStreams(delta), x: streams, y: totalCPU,
	},
	{
		name: "p99 of an endpoint change, by streams", file: "control-p99",
		title: "One endpoint changes: p99 to the clients", unit: "ms", xName: byStreams,
		of: ofStreams(sotw), x: streams, y: func(r *result) report.Sample { return r.endpoint.p99 },
	},
	{
		name: "CPU of the first configuration, by streams", file: "control-first",
		title: "Server CPU until all have their first configuration", unit: "s of CPU", xName: byStreams,
		of: ofStreams(sotw), x: streams, y: func(r *result) report.Sample { return r.sync.cpu },
	},
	{
		name: "CPU of an endpoint change, by services", file: "control-services",
		title: "Server CPU of one endpoint change, 100 streams", unit: ofCPU, xName: "services of the mesh",
		of: func(b bout) bool {
			return b.streams == small && b.world != plain && b.world.endpoints == plain.endpoints && b.form == sotw
		},
		x: func(b bout) int { return b.world.services }, y: totalCPU,
	},
	{
		name: "CPU of an endpoint change, by endpoints", file: "control-endpoints",
		title: "Server CPU of one endpoint change, 100 streams", unit: ofCPU, xName: "endpoints of the service",
		of: func(b bout) bool { return b.streams == small && b.world.services == perClient && b.form == sotw },
		x:  func(b bout) int { return b.world.endpoints }, y: totalCPU,
	},
}

// growth fits and draws how costs grow.
func (r *run) growth() {
	t := report.Table{
		Title: "Control plane: how cost grows",
		Note:  "The exponent of the power law that fits the medians best: 1 is in proportion, 0 not at all.",
	}
	for _, engine := range engines {
		t.Columns = append(t.Columns, report.Column{Name: engine, Digits: 2})
	}
	for _, c := range curves {
		chart := report.Chart{File: c.file, Title: c.title, Unit: c.unit, XName: c.xName}
		var fits []report.Sample
		for _, engine := range engines {
			x, y := c.points(r.results, engine)
			if len(x) < 3 {
				fits = append(fits, nil)
				continue
			}
			fits = append(fits, report.Sample{exponent(x, y)})
			if chart.X == nil {
				chart.X = x
			}
			if slices.Equal(chart.X, x) {
				chart.Series = append(chart.Series, report.Series{Name: engine, Values: y})
			}
		}
		if chart.X != nil {
			t.Add(c.name, fits...)
			r.out.Charts = append(r.out.Charts, chart)
		}
	}
	if len(t.Rows) > 0 {
		r.out.Tables = append(r.out.Tables, t)
	}
}

// points are the medians of an engine, in order of x.
func (c *curve) points(results []*result, engine string) (x, y []float64) {
	for _, r := range results {
		if r.engine != engine || r.failed || !c.of(r.bout) {
			continue
		}
		if at := float64(c.x(r.bout)); !slices.Contains(x, at) {
			x = append(x, at)
			y = append(y, c.y(r).Spread().Median)
		}
	}
	return x, y
}

// exponent is b of y = a * x^b, by least squares of the logarithms.
func exponent(x, y []float64) float64 {
	var sx, sy, sxx, sxy, n float64
	for i := range x {
		if x[i] <= 0 || y[i] <= 0 {
			continue
		}
		lx, ly := math.Log(x[i]), math.Log(y[i])
		sx, sy, sxx, sxy, n = sx+lx, sy+ly, sxx+lx*lx, sxy+lx*ly, n+1
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}
