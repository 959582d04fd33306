package telemetry

import (
	"time"

	"golang.org/x/time/rate"
)

const (
	// maxReporters bounds the processes that are known, maxInstances those of one
	// identity.
	maxReporters = 50_000
	maxInstances = 2_000
	// sameReport is how long after one message another is a part of the same report.
	sameReport = time.Second
	// maxSeries bounds the series of one process, maxSeriesBytes what they take;
	// maxAllSeriesBytes what those of all processes take.
	maxSeries         = 16_384
	maxSeriesBytes    = 8 << 20
	maxAllSeriesBytes = 256 << 20
	// maxIdentityBytes bounds what the series of all processes of one identity take.
	maxIdentityBytes = 64 << 20
	// maxEndpoints bounds the endpoints of others that one process reports on.
	maxEndpoints = 1_000
	// seriesBytes is what a series takes beside its key and its last value, about.
	seriesBytes = 160
	// missed is after how many reports without it a series is forgotten: all of them
	// are in every twelfth. Reports, and not time, since nobody reports while the way
	// here is cut. missedGauge is the same for what is only a state.
	missed      = 200
	missedGauge = 36
	// silent is after how long without a report a process is forgotten.
	silent = Window + 5*time.Minute
	// away is after how long without a report the process is gone for who asks how
	// things are now.
	away = 30 * time.Second
)

// A reporterKey is a process: its identity, and what it calls itself.
type reporterKey struct{ id, instance string }

// A reporter is a process that reports.
type reporter struct {
	key     reporterKey
	service string // Client for no service
	// What it says of itself.
	version, zone, library string
	// reports counts its reports, the last of which came at seen.
	reports uint64
	seen    time.Time
	// gap is how long nothing was heard before what is reported now, which may be
	// several messages.
	gap  time.Duration
	rate *rate.Limiter

	series    map[string]*series
	endpoints map[endpointKey]*endpoint
	bytes     int
	// stock is whether it is no process of ours.
	stock bool
	// in and out are the calls that it takes and makes.
	in, out *line

	// The state it reported last; those that count are since it began.
	connections, streams      map[string]int32 // by side
	expiry                    float64
	stale                     float64
	nacks                     uint64
	denied, limited           uint64
	shed, injected, panicking uint64
}

// An endpointKey is an endpoint as a process knows it.
type endpointKey struct{ destination, cluster, address string }

// An endpoint is the state of one, as a process sees it.
type endpoint struct {
	key            endpointKey
	latency        float64 // seconds
	open, breaker  int32
	ejected, inUse bool
	local, guess   bool
	// report is the last that had it.
	report uint64
}

// A series is a stream of cumulative points.
type series struct {
	metric metric
	code   uint8
	side   string
	// start and at are of its last point, as the sender's clock has it.
	start, at uint64
	// report is the last that had it.
	report uint64
	// value is its last value; last its histogram, encoded.
	value float64
	last  []byte
	// Where it is counted; each is nil where it is not.
	line, inst *line
	total      *total
	row        *observation
	endpoint   *endpoint
}

// observation is which row an access counts in, and how.
type observation struct {
	key     key
	verdict string
	policy  string
}

func (se *series) size(key string) int { return seriesBytes + len(key) + cap(se.last) }

// reporter returns the process with an instance id, nil where there is no room.
func (s *Server) reporter(service, id string, instance []byte, now time.Time) *reporter {
	if r := s.reporters[reporterKey{id, string(instance)}]; r != nil {
		r.service = service
		return r
	}
	if len(s.reporters) >= maxReporters || s.identities[id].rows >= maxInstances || bad(string(instance)) {
		return nil
	}
	return s.newReporter(service, reporterKey{id, string(instance)}, now)
}

func (s *Server) newReporter(service string, key reporterKey, now time.Time) *reporter {
	r := &reporter{
		key: key, service: service, seen: now,
		rate:   rate.NewLimiter(instanceRate, instanceBurst),
		series: make(map[string]*series), endpoints: make(map[endpointKey]*endpoint),
		connections: make(map[string]int32, 2), streams: make(map[string]int32, 2),
		in:  &line{def: def{family: familyIn, destination: service}, keep: shortChunks},
		out: &line{def: def{family: familyOut, source: service}, keep: shortChunks},
	}
	s.reporters[key] = r
	s.weigh(r, 1, 0)
	return r
}

// weigh counts what reporters take.
func (s *Server) weigh(r *reporter, rows, bytes int) {
	r.bytes += bytes
	s.reported.add(rows, bytes)
	own := s.identities[r.key.id]
	own.add(rows, bytes)
	if own.rows == 0 {
		delete(s.identities, r.key.id)
	} else {
		s.identities[r.key.id] = own
	}
}

// room reports whether a process may have another series.
func (s *Server) room(r *reporter) bool {
	return len(r.series) < maxSeries && r.bytes < maxSeriesBytes &&
		s.identities[r.key.id].bytes < maxIdentityBytes && s.reported.bytes < maxAllSeriesBytes
}

// sweepReporters forgets processes that are gone, and series that are.
func (s *Server) sweepReporters(now time.Time) {
	period := s.window.now / chunkSlots
	for key, r := range s.reporters {
		if now.Sub(r.seen) > silent {
			delete(s.reporters, key)
			s.weigh(r, -1, -r.bytes)
			continue
		}
		for _, l := range []*line{r.in, r.out} {
			if l.slot < s.window.now {
				l.flush()
			}
			l.expire(period)
		}
		for k, se := range r.series {
			// A sum that was quiet is told of again from where it was: it is not
			// forgotten while its process is there.
			if (se.metric.gauge() || se.metric.histogram()) && r.reports-se.report > missed {
				delete(r.series, k)
				s.weigh(r, 0, -se.size(k))
			}
		}
		for k, e := range r.endpoints {
			if r.reports-e.report > missedGauge {
				delete(r.endpoints, k)
			}
		}
	}
}

// here reports whether the process has reported of late.
func (rep *reporter) here(now time.Time) bool { return now.Sub(rep.seen) <= away }
