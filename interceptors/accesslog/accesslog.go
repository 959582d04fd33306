// Package accesslog writes one line for a call: who called what, how it went and how
// long it took. It is off until somebody wants it, and then costs little.
//
//	log := accesslog.New(logger)
//	log.Sample(0.01) // one call in a hundred, and all that fail
//
//	if log.Wants(code) {
//		log.Tell(accesslog.Entry{Side: accesslog.Server, Peer: id, Method: method, Code: code, Took: took})
//	}
//
// Which calls are told is decided when they are over: of those that fail all are, of the
// others a share. A process writes at most 100 lines a second of each class, which are
// the calls served and the calls made, those that fail and those that do not; what is
// above is counted, and the next line of the class says how many it stands for in
// left_out. A flood of refused calls does so neither fill a disk nor hide the rest.
//
// The share may be changed at any time. A call that is not told of costs one atomic load
// while the log is off, and a random number beside it while it is on.
package accesslog

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// Most is how many lines of one class there are in a second.
const Most = 100

// maxText bounds what others choose of a line, in bytes.
const maxText = 256

// A Side is that of a call on which the process stands.
type Side uint8

// The sides.
const (
	Server Side = iota
	Client
)

// An Entry is what a line says. What is empty is left out.
type Entry struct {
	Side Side
	// Peer is the other side: the caller's SPIFFE id, or its address where it has none;
	// or the service that is called.
	Peer string
	// Method is the full method.
	Method string
	Code   codes.Code
	// Took is how long the call took, a stream from its opening to its end.
	Took time.Duration
	// Attempts are how many were made; one is not told.
	Attempts uint32
	// Endpoint is the address that was called last.
	Endpoint string
	// Trace is the id of the trace that the call is in.
	Trace string
	// Reason is why the mesh ended the call; see call.Reason.
	Reason call.Reason
	// Message says why it failed.
	Message string
}

// A Log writes lines. It is made by [New] and safe for concurrent use. A nil Log wants
// nothing.
type Log struct {
	logger *slog.Logger
	share  atomic.Uint64 // the bits of a float64; zero is off

	mu      sync.Mutex // not held while logging
	classes [4]class
}

// A class is calls whose lines are counted together.
type class struct {
	second  time.Time // when it began
	lines   int       // in it
	leftOut uint64    // since the last line
}

// New returns a Log that is off. Its lines are of level Info.
func New(logger *slog.Logger) *Log { return &Log{logger: logger} }

// Sample makes the log tell a share of the calls that do not fail, from 0 to 1, and all
// that do. Zero, and what is no number, is off.
func (l *Log) Sample(share float64) {
	if !(share > 0) {
		share = 0
	}
	l.share.Store(math.Float64bits(min(share, 1)))
}

// Share returns what was last given to Sample.
func (l *Log) Share() float64 { return math.Float64frombits(l.share.Load()) }

// Wants reports whether a call that ended with a code is to be told of. It throws dice,
// and is asked once.
func (l *Log) Wants(code codes.Code) bool {
	if l == nil {
		return false
	}
	bits := l.share.Load()
	if bits == 0 {
		return false
	}
	return code != codes.OK || rand.Float64() < math.Float64frombits(bits)
}

// Tell writes a line, unless there are too many.
func (l *Log) Tell(e Entry) {
	leftOut, ok := l.due(&e, time.Now())
	if !ok {
		return
	}
	peer := "caller"
	if e.Side == Client {
		peer = "service"
	}
	attributes := make([]slog.Attr, 0, 12)
	attributes = append(attributes,
		slog.String(peer, clean(e.Peer)),
		slog.String("method", clean(e.Method)),
		slog.String("code", call.CodeName(e.Code)),
		slog.Duration("took", e.Took),
	)
	if e.Attempts > 1 {
		attributes = append(attributes, slog.Uint64("attempts", uint64(e.Attempts)))
	}
	for _, a := range [...]struct{ key, value string }{
		{"endpoint", e.Endpoint}, {"trace", e.Trace}, {"reason", string(e.Reason)}, {"error", e.Message},
	} {
		if a.value != "" {
			attributes = append(attributes, slog.String(a.key, clean(a.value)))
		}
	}
	if leftOut > 0 {
		attributes = append(attributes, slog.Uint64("left_out", leftOut))
	}
	if e.Side == Client {
		l.logger.LogAttrs(context.Background(), slog.LevelInfo, "call made", attributes...)
		return
	}
	l.logger.LogAttrs(context.Background(), slog.LevelInfo, "call served", attributes...)
}

// due counts a call and reports whether its line may be written, and for how many others
// it stands.
func (l *Log) due(e *Entry, now time.Time) (leftOut uint64, ok bool) {
	i := int(e.Side) & 1 << 1
	if e.Code != codes.OK {
		i++
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &l.classes[i]
	if now.Sub(c.second) >= time.Second {
		c.second, c.lines = now, 0
	}
	if c.lines == Most {
		c.leftOut++
		return 0, false
	}
	c.lines++
	leftOut, c.leftOut = c.leftOut, 0
	return leftOut, true
}

// clean is text that others chose, as a line may have it: of bounded length, and without
// what moves the cursor of a terminal or begins another line.
func clean(text string) string {
	cut := len(text) > maxText
	if cut {
		text = text[:maxText]
	}
	for i := range len(text) {
		if b := text[i]; b < ' ' || b >= 0x7f {
			text = strings.Map(printable, strings.ToValidUTF8(text, "?"))
			break
		}
	}
	if cut {
		text += "..."
	}
	return text
}

func printable(r rune) rune {
	if strconv.IsPrint(r) {
		return r
	}
	return '?'
}
