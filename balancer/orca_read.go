package balancer

import (
	"math"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
)

// loadTrailer is the trailer that has a report, as the bytes of an OrcaLoadReport.
const loadTrailer = "endpoint-load-metrics-bin"

// A trailerReport is what balancing asks for of a report.
//
// grpc-go reads reports into DoneInfo.ServerLoad where package orca is linked, which a
// process that makes calls need not link: it brings the messages of reports, and what
// validates them.
type trailerReport struct{ cpu, rps, eps, application float64 }

var _ loadReport = (*trailerReport)(nil)

func (r *trailerReport) GetCpuUtilization() float64         { return r.cpu } //nolint:staticcheck // protobuf names it
func (r *trailerReport) GetRpsFractional() float64          { return r.rps }
func (r *trailerReport) GetEps() float64                    { return r.eps }
func (r *trailerReport) GetApplicationUtilization() float64 { return r.application }

// readLoad returns the report in a trailer, nil where there is none that can be read.
func readLoad(trailer metadata.MD) *trailerReport {
	values := trailer[loadTrailer]
	if len(values) != 1 {
		return nil
	}
	r := &trailerReport{}
	fields := map[protowire.Number]*float64{1: &r.cpu, 6: &r.rps, 7: &r.eps, 9: &r.application}
	for b := []byte(values[0]); len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return nil
		}
		if field := fields[num]; field != nil && typ == protowire.Fixed64Type {
			bits, _ := protowire.ConsumeFixed64(b)
			*field = math.Float64frombits(bits)
		}
		b = b[n:]
	}
	return r
}
