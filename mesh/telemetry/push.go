package telemetry

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// ExportMethod is the method of OTLP's collector of metrics, to which processes report.
// Its request has the bytes of a metricspb.MetricsData, and its response is empty where
// nothing was refused. (The package of its messages links an HTTP gateway.)
const ExportMethod = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

const (
	// pushEvery is how old a count may be before xdsserver hears of it; pushWithin bounds
	// the wait for its answer, lastWithin that for the last one.
	pushEvery  = 5 * time.Second
	pushWithin = 4 * time.Second
	lastWithin = 2 * time.Second
	// allEvery is how often everything is told, also what has not changed.
	allEvery = time.Minute
	// maxPoints bounds the points of one report.
	maxPoints = 2000
)

// Run tells xdsserver, to which conn leads, every 5 seconds what has changed since the
// last report that it answered, and once a minute everything, until ctx ends; then once
// more, for 2 seconds at most, and it returns nil. Counts are cumulative: while xdsserver
// is away they add up, and none is lost or counted twice.
func (i *Instruments) Run(ctx context.Context, conn grpc.ClientConnInterface) error {
	p := pusher{instruments: i, conn: conn, told: map[pointKey]uint64{}}
	timer := time.NewTimer(jitter(pushEvery))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWithin)
			defer cancel()
			p.push(last, time.Now())
			return nil
		case <-timer.C:
		}
		timer.Reset(jitter(pushEvery))
		short, cancel := context.WithTimeout(ctx, pushWithin)
		p.push(short, time.Now())
		cancel()
	}
}

// jitter keeps the processes of a mesh from reporting all at once.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + time.Duration(rand.Int64N(int64(d/5)))
}

// A pusher is owned by Run.
type pusher struct {
	instruments *Instruments
	conn        grpc.ClientConnInterface
	told        map[pointKey]uint64 // counts that xdsserver has answered
	toldAll     time.Time
	swept       time.Time
}

type pointKey struct {
	series *Series
	code   codes.Code
}

func (p *pusher) push(ctx context.Context, now time.Time) {
	if now.Sub(p.swept) >= allEvery {
		p.swept = now
		p.instruments.sweep(now)
	}
	s := p.instruments.snapshot(now)
	all := now.Sub(p.toldAll) >= allEvery
	points := s.Points[:0:0]
	known := make(map[pointKey]uint64, len(s.Points))
	for _, point := range s.Points {
		k := pointKey{point.series, point.Code}
		if told, ok := p.told[k]; ok {
			known[k] = told
			if !all && told == point.Count {
				continue
			}
		}
		points = append(points, point)
	}
	p.told = known // series that have left are forgotten
	s.Points = points
	for first := true; first || len(points) > 0; first = false {
		n := min(len(points), maxPoints)
		s.Points = points[:n]
		if !p.send(ctx, s) {
			return
		}
		for _, point := range points[:n] {
			p.told[pointKey{point.series, point.Code}] = point.Count
		}
		points, s.Samples = points[n:], nil
	}
	if all {
		p.toldAll = now
	}
}

// send reports whether a report is done with: taken, or refused for what it says, which
// it would say the next time too.
func (p *pusher) send(ctx context.Context, s *Snapshot) bool {
	err := p.conn.Invoke(ctx, ExportMethod, s.OTLP(), new(emptypb.Empty))
	return err == nil || status.Code(err) == codes.InvalidArgument
}
