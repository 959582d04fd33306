package mesh

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A level is the least that the mesh logs. Nil is what the logger itself says.
type level struct{ asked atomic.Pointer[slog.Level] }

// set makes the level what a command says; nil, and one that says nothing of it, is as
// ever.
func (l *level) set(c *resource.LogCommand) {
	if c == nil || !c.HasLevel {
		l.asked.Store(nil)
		return
	}
	least := c.Level
	l.asked.Store(&least)
}

// logger returns a logger that follows the level. Debug messages of a logger that leaves
// them out then come out where they are asked for: handlers of the standard library, and
// most others, look at the level in Enabled alone.
func (l *level) logger(own *slog.Logger) *slog.Logger {
	return slog.New(leveled{Handler: own.Handler(), level: l})
}

// A leveled is a handler whose level may be set.
type leveled struct {
	slog.Handler

	level *level // nil lets all pass
}

// everything returns a logger whose messages are all written, whatever its level.
func everything(own *slog.Logger) *slog.Logger { return slog.New(leveled{Handler: own.Handler()}) }

var _ slog.Handler = leveled{}

// Enabled implements [slog.Handler].
func (h leveled) Enabled(ctx context.Context, at slog.Level) bool {
	if h.level == nil {
		return true
	}
	if least := h.level.asked.Load(); least != nil {
		return at >= *least
	}
	return h.Handler.Enabled(ctx, at)
}

// WithAttrs implements [slog.Handler].
func (h leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return leveled{Handler: h.Handler.WithAttrs(attrs), level: h.level}
}

// WithGroup implements [slog.Handler].
func (h leveled) WithGroup(name string) slog.Handler {
	return leveled{Handler: h.Handler.WithGroup(name), level: h.level}
}
