package balancer

import (
	"testing"

	orcav3 "github.com/cncf/xds/go/xds/data/orca/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// What protobuf reads of a report is what is read here.
func FuzzReadLoad(f *testing.F) {
	for _, m := range []*orcav3.OrcaLoadReport{
		{},
		{CpuUtilization: 0.25, MemUtilization: 0.5, RpsFractional: 120.5, Eps: 3, ApplicationUtilization: 0.75},
		{NamedMetrics: map[string]float64{"queue": 7}, Utilization: map[string]float64{"gpu": 1}, Rps: 7},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("\x0d\x00\x00\x00\x00")) // a number of another kind
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := readLoad(metadata.MD{loadTrailer: {string(b)}})
		want := new(orcav3.OrcaLoadReport)
		if proto.Unmarshal(b, want) != nil {
			return // it may be in a field that nobody reads
		}
		if got == nil {
			t.Fatalf("%q cannot be read", b)
		}
		for _, v := range [][2]float64{
			{got.GetCpuUtilization(), want.GetCpuUtilization()},
			{got.GetRpsFractional(), want.GetRpsFractional()},
			{got.GetEps(), want.GetEps()},
			{got.GetApplicationUtilization(), want.GetApplicationUtilization()},
		} {
			if v[0] != v[1] && (v[0] == v[0] || v[1] == v[1]) {
				t.Errorf("%q: got %v, want %v", b, v[0], v[1])
			}
		}
	})
}

func TestOneReportOrNone(t *testing.T) {
	for name, md := range map[string]metadata.MD{
		"no trailer": nil, "another trailer": {"x": {"y"}}, "two reports": {loadTrailer: {"", ""}}, "no report": {loadTrailer: {"\xff"}},
	} {
		if got := readLoad(md); got != nil {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
