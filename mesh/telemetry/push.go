package telemetry

import (
	"context"
	"hash/maphash"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// ExportMethod is the method of OTLP's collector of metrics, to which processes report.
// Its request has the bytes of OTLP's MetricsData, and its response is empty where
// nothing was refused. (The package of its messages links an HTTP gateway.)
const ExportMethod = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

const (
	// firstAfter is how soon xdsserver hears of a process at all.
	firstAfter = time.Second
	// pushEvery is how old a count may be before xdsserver hears of it; pushWithin bounds
	// the wait for its answer, lastWithin that for the last one.
	pushEvery  = 5 * time.Second
	pushWithin = 4 * time.Second
	lastWithin = 2 * time.Second
	// allEvery is how often everything is told, also what has not changed.
	allEvery = time.Minute
	// maxPoints and maxBytes bound one message. What is more goes into the next.
	maxPoints = 2000
	maxBytes  = 1 << 20
)

// Run tells xdsserver, to which conn leads, every 5 seconds what has changed since the
// last report that it answered, and everything once a minute and when conn leads to
// another, until ctx ends; then once more, for 2 seconds at most, and it returns nil. Counts are cumulative: while xdsserver
// is away they add up, and none is lost or counted twice. Run runs once at a time.
func (i *Instruments) Run(ctx context.Context, conn grpc.ClientConnInterface) error {
	i.reporting.Store(true)
	defer i.reporting.Store(false)
	p := pusher{instruments: i, conn: conn, seed: maphash.MakeSeed(), told: map[uint64]toldSample{}}
	timer := time.NewTimer(jitter(firstAfter))
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

// A pusher is owned by Run. What xdsserver has answered of points, they know themselves.
type pusher struct {
	instruments *Instruments
	conn        grpc.ClientConnInterface
	// told is by the hash of what tells a sample from others: as text that would be a sixth
	// of what an upstream takes. That any two of thousands are alike has a chance of one in
	// 10^12; a change of theirs may then be told only when everything is.
	told    map[uint64]toldSample
	seed    maphash.Seed
	text    []byte // of the last key
	toldAll time.Time
	pushes  uint64
	server  string // that was told; empty where conn does not say
}

// A toldSample is what xdsserver has answered of a sample.
type toldSample struct {
	value float64
	push  uint64 // the last whose snapshot had it
}

func (p *pusher) push(ctx context.Context, now time.Time) {
	p.pushes++
	s := p.instruments.snapshot(now)
	if to, ok := p.conn.(interface{ Server() string }); ok && to.Server() != p.server {
		p.server, p.toldAll = to.Server(), time.Time{} // another knows nothing yet
	}
	all := now.Sub(p.toldAll) >= allEvery
	// What is new goes first, so that a server that takes a part each time hears of it.
	points, samples := s.Points, s.Samples
	told, toldSamples := make([]Point, 0, len(points)), make([]Sample, 0, len(samples))
	s.Points, s.Samples = points[:0:0], samples[:0:0]
	for _, point := range points {
		if point.Count == point.histogram.told.Load() {
			told = append(told, point)
		} else {
			s.Points = append(s.Points, point)
		}
	}
	for _, sample := range samples {
		if p.isTold(&sample) {
			toldSamples = append(toldSamples, sample)
		} else {
			s.Samples = append(s.Samples, sample)
		}
	}
	if all {
		s.Points, s.Samples = append(s.Points, told...), append(s.Samples, toldSamples...)
	}
	if p.send(ctx, s) && all {
		p.toldAll = now
		for k, t := range p.told {
			if t.push != p.pushes { // it is gone
				delete(p.told, k)
			}
		}
	}
}

// send reports whether all of a report is done with. A report that says nothing is made
// too: so xdsserver knows that the process is there.
func (p *pusher) send(ctx context.Context, s *Snapshot) bool {
	for first := true; first || len(s.Points)+len(s.Samples) > 0; first = false {
		message := s.cut()
		if !p.export(ctx, message) {
			return false
		}
		for i := range message.Points {
			message.Points[i].histogram.told.Store(message.Points[i].Count)
		}
		for i := range message.Samples {
			p.told[p.key(&message.Samples[i])] = toldSample{value: message.Samples[i].Value, push: p.pushes}
		}
	}
	return true
}

// export reports whether a message is done with: taken, or refused for what it says,
// which it would say the next time too.
func (p *pusher) export(ctx context.Context, s *Snapshot) bool {
	err := p.conn.Invoke(ctx, ExportMethod, s.AppendOTLP(nil), nil, grpc.ForceCodecV2(encoded{}))
	return err == nil || status.Code(err) == codes.InvalidArgument
}

// encoded is the codec of requests that are bytes already, and of answers that nobody
// reads.
type encoded struct{}

// Name implements encoding.CodecV2.
func (encoded) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (encoded) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

// Unmarshal implements encoding.CodecV2.
func (encoded) Unmarshal(mem.BufferSlice, any) error { return nil }

func (p *pusher) isTold(s *Sample) bool {
	k := p.key(s)
	t, ok := p.told[k]
	if !ok {
		return false
	}
	t.push = p.pushes
	p.told[k] = t
	return t.value == s.Value
}

func (p *pusher) key(s *Sample) uint64 {
	p.text = s.appendKey(p.text[:0])
	return maphash.Bytes(p.seed, p.text)
}

// appendKey appends what tells a sample from others.
func (s *Sample) appendKey(b []byte) []byte {
	b = append(append(b, s.Name...), 0)
	if s.Sum {
		b = append(b, 1)
	}
	for _, a := range s.Attributes {
		b = append(append(append(append(b, a.Key...), 0), a.Value...), 0)
	}
	return b
}

// cut takes as much out of a snapshot as one message may hold.
func (s *Snapshot) cut() *Snapshot {
	points, samples, bytes := 0, 0, 0
	for ; points < len(s.Points) && points < maxPoints; points++ {
		if bytes += s.Points[points].size(); bytes > maxBytes && points > 0 {
			break
		}
	}
	for ; samples < len(s.Samples) && points+samples < maxPoints; samples++ {
		if bytes += s.Samples[samples].size(); bytes > maxBytes && points+samples > 0 {
			break
		}
	}
	message := *s
	message.Points, s.Points = s.Points[:points], s.Points[points:]
	message.Samples, s.Samples = s.Samples[:samples], s.Samples[samples:]
	return &message
}

// size is at least what a point takes in a message, in bytes: a bucket that counts
// something weighs more than it takes, since xdsserver bounds these by their number.
func (p *Point) size() int {
	n := pointBytes + sizeOf(p.Attributes)
	for _, count := range p.Buckets {
		switch {
		case count == 0:
			n++
		case count < 1<<(4*7):
			n += bucketBytes
		default:
			n += 10
		}
	}
	return n
}

func (s *Sample) size() int { return pointBytes + sizeOf(s.Attributes) }

// pointBytes is what a point takes beside its attributes and buckets, its status among
// it; attributeBytes what an attribute does beside its text. A message has maxBytes /
// bucketBytes buckets at the most, 2^18.
const (
	pointBytes     = 128
	bucketBytes    = 4
	attributeBytes = 20
)

func sizeOf(attributes []Attribute) (n int) {
	for _, a := range attributes {
		n += attributeBytes + len(a.Key) + len(a.Value)
	}
	return n
}
