package data

import (
	"github.com/tulle-mesh/tulle/bench/proc"
	"github.com/tulle-mesh/tulle/bench/report"
)

// footprint is the memory of a mode's processes after it was loaded, in bytes.
type footprint struct {
	client, server proc.Memory
	// Resident memory of the client, the server and each side's proxy.
	clientRSS, serverRSS, clientProxy, serverProxy int64
}

// perService is what a process costs that serves or calls: half of both sides.
func (f footprint) perService() float64 {
	return float64(f.clientRSS+f.serverRSS+f.clientProxy+f.serverProxy) / 2
}

func (r *run) memory() (map[string]footprint, error) {
	all := map[string]footprint{}
	t := report.Table{
		Title: "Memory after that",
		Note:  "Resident memory of each process after a collection, programs included; heap and stack are Go's.",
		Columns: []report.Column{
			{Name: "client", Unit: "MB", Digits: 1},
			{Name: "its proxy", Unit: "MB", Digits: 1},
			{Name: "server", Unit: "MB", Digits: 1},
			{Name: "its proxy", Unit: "MB", Digits: 1},
			{Name: "client heap", Unit: "MB", Digits: 1},
			{Name: "server heap", Unit: "MB", Digits: 1},
			{Name: "goroutines", Unit: "client"},
			{Name: "goroutines", Unit: "server"},
		},
	}
	for _, l := range r.lanes {
		f, err := l.footprint()
		if err != nil {
			return nil, err
		}
		all[l.name] = f
		proxy := func(bytes int64) report.Sample {
			if l.proxies == nil {
				return nil
			}
			return report.Sample{megabytes(bytes)}
		}
		t.Add(l.name,
			report.Sample{megabytes(f.clientRSS)}, proxy(f.clientProxy), report.Sample{megabytes(f.serverRSS)}, proxy(f.serverProxy),
			report.Sample{megabytes(int64(f.client.Heap + f.client.Stack))}, report.Sample{megabytes(int64(f.server.Heap + f.server.Stack))},
			report.Sample{float64(f.client.Goroutines)}, report.Sample{float64(f.server.Goroutines)})
	}
	r.out.Tables = append(r.out.Tables, t)
	return all, nil
}

func (l *lane) footprint() (f footprint, err error) {
	if err := l.client.Ask("memory", nil, &f.client); err != nil {
		return f, err
	}
	if err := l.server.Ask("memory", nil, &f.server); err != nil {
		return f, err
	}
	client, err := proc.UsageOf(l.client.PID())
	if err != nil {
		return f, err
	}
	server, err := proc.UsageOf(l.server.PID())
	if err != nil {
		return f, err
	}
	f.clientRSS, f.serverRSS = client.RSS, server.RSS
	if l.proxies != nil {
		client, server, err := l.proxies.Usage()
		if err != nil {
			return f, err
		}
		f.clientProxy, f.serverProxy = client.RSS, server.RSS
	}
	return f, nil
}

func megabytes(b int64) float64 { return float64(b) / (1 << 20) }
