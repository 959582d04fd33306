package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	// maxQueued and maxQueuedBytes bound the reports that wait for the collector. A
	// dead one costs these, and no report of a process waits for it.
	maxQueued      = 1_000
	maxQueuedBytes = 16 << 20
	// forwardWithin bounds the sending of one report.
	forwardWithin = 5 * time.Second
)

// A forwarder sends reports on, in order, and drops what finds no room.
type forwarder struct {
	conn    *grpc.ClientConn
	queue   chan []byte
	waiting atomic.Int64 // bytes in queue
	sent    atomic.Uint64
	dropped atomic.Uint64
	// problem is why the last report was not taken; nil when it was.
	problem atomic.Pointer[string]
}

// ParseForward reads the address of a collector: grpc://HOST:PORT, in plaintext, or
// grpcs://HOST:PORT, in TLS by the system's roots. http and https, by which
// OTEL_EXPORTER_OTLP_ENDPOINT says the same of its default protocol, are read so too.
func ParseForward(text string) (target string, secure bool, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		// It is not shown: what is wrong with it may be that it holds a password.
		return "", false, errors.New("what is given is no address of a collector, want grpc://HOST:4317 or grpcs://HOST:4317")
	}
	switch u.Scheme {
	case "grpc", "http":
	case "grpcs", "https":
		secure = true
	default:
		return "", false, fmt.Errorf("a collector is not spoken to by %q, want grpc://HOST:4317 or grpcs://HOST:4317", u.Scheme)
	}
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "4317"), secure, nil
	}
	return u.Host, secure, nil
}

func newForwarder(text string) (*forwarder, error) {
	target, secure, err := ParseForward(text)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	creds := insecure.NewCredentials()
	if secure {
		creds = credentials.NewTLS(nil)
	}
	conn, err := grpc.NewClient("dns:///"+target, grpc.WithTransportCredentials(creds), grpc.WithDisableServiceConfig())
	if err != nil {
		return nil, fmt.Errorf("telemetry: collector %s: %w", target, err)
	}
	return &forwarder{conn: conn, queue: make(chan []byte, maxQueued)}, nil
}

// put queues a report, which nobody changes any more; it never waits.
func (f *forwarder) put(report []byte) {
	n := int64(len(report))
	if f.waiting.Add(n) > maxQueuedBytes {
		f.waiting.Add(-n)
		f.dropped.Add(1)
		return
	}
	select {
	case f.queue <- report:
	default:
		f.waiting.Add(-n)
		f.dropped.Add(1)
	}
}

// run sends until ctx ends. It logs when the collector begins to fail, and when that
// ends.
func (f *forwarder) run(ctx context.Context, log *slog.Logger) {
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case report := <-f.queue:
			err := f.send(ctx, report)
			f.waiting.Add(-int64(len(report)))
			switch {
			case err == nil:
				f.sent.Add(1)
				f.problem.Store(nil)
				if failing {
					log.Info("the collector takes reports again", "dropped", f.dropped.Load())
				}
			case ctx.Err() != nil:
				return
			default:
				f.dropped.Add(1)
				text := err.Error()
				f.problem.Store(&text)
				if !failing {
					log.Warn("the collector takes no reports, they are dropped", "collector", f.conn.Target(), "error", err)
				}
			}
			failing = err != nil
		}
	}
}

func (f *forwarder) send(ctx context.Context, report []byte) error {
	ctx, cancel := context.WithTimeout(ctx, forwardWithin)
	defer cancel()
	var message, answer emptypb.Empty
	message.ProtoReflect().SetUnknown(report)
	return f.conn.Invoke(ctx, ExportMethod, &message, &answer)
}

func (f *forwarder) close() error {
	if err := f.conn.Close(); err != nil {
		return fmt.Errorf("telemetry: collector: %w", err)
	}
	return nil
}

// identityAttributes are those of a resource that its certificate decides.
const (
	attributeName      = "service.name"
	attributeNamespace = "service.namespace"
	attributeIdentity  = "tulle.identity"
)

// rewrite is a report, which was read before, with the service of each resource as
// its certificate has it: a collector cannot know who sent it.
func rewrite(raw []byte, service, id string) []byte {
	name, namespace, _ := strings.Cut(service, ".")
	var ours []byte
	for _, a := range [][2]string{{attributeName, name}, {attributeNamespace, namespace}, {attributeIdentity, id}} {
		if a[1] == "" {
			continue
		}
		value := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), a[1])
		pair := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), a[0])
		pair = protowire.AppendBytes(protowire.AppendTag(pair, 2, protowire.BytesType), value)
		ours = protowire.AppendBytes(protowire.AppendTag(ours, 1, protowire.BytesType), pair)
	}
	out := make([]byte, 0, len(raw)+2*len(ours))
	for s := (scan{rest: raw}); s.next(); {
		if !s.is(1, protowire.BytesType) {
			continue
		}
		resource, rest := ours, []byte(nil)
		for in := (scan{rest: s.bytes}); in.next(); {
			if in.is(1, protowire.BytesType) {
				resource = append(slices.Clip(resource), others(in.bytes)...)
			} else {
				rest = append(rest, in.raw...)
			}
		}
		body := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), resource)
		out = protowire.AppendBytes(protowire.AppendTag(out, 1, protowire.BytesType), append(body, rest...))
	}
	return out
}

// others are the fields of a Resource but for the attributes that are ours to set.
func others(resource []byte) (out []byte) {
	for s := (scan{rest: resource}); s.next(); {
		if s.is(1, protowire.BytesType) {
			var key []byte
			for in := (scan{rest: s.bytes}); in.next(); {
				if in.is(1, protowire.BytesType) {
					key = in.bytes
				}
			}
			switch string(key) {
			case attributeName, attributeNamespace, attributeIdentity:
				continue
			}
		}
		out = append(out, s.raw...)
	}
	return out
}
