package mesh

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tulle-mesh/tulle/interceptors/accesslog"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/tap"
	"github.com/tulle-mesh/tulle/mesh/xdsclient"
)

// What a process logs goes back by itself at the end of the command: nobody says so.
func TestLoggingAsAskedEndsByItself(t *testing.T) {
	log := func(change ...func(*resource.LogCommand)) *resource.Commands {
		l := &resource.LogCommand{Level: slog.LevelDebug, HasLevel: true, Access: .5, Until: time.Now().Add(time.Hour)}
		for _, c := range change {
			c(l)
		}
		return &resource.Commands{Log: l}
	}
	for _, tt := range []struct {
		name     string
		commands func() *resource.Commands
		follows  time.Duration // for how long; zero is not at all
	}{
		{"a command for all", func() *resource.Commands { return log() }, time.Hour},
		{"one for this process", func() *resource.Commands { return log(func(l *resource.LogCommand) { l.Instance = "a" }) }, time.Hour},
		{"one for another", func() *resource.Commands { return log(func(l *resource.LogCommand) { l.Instance = "b" }) }, 0},
		{"one that is over", func() *resource.Commands { return log(func(l *resource.LogCommand) { l.Until = time.Now() }) }, 0},
		{"one without an end worth the name", func() *resource.Commands {
			return log(func(l *resource.LogCommand) { l.Until = time.Now().Add(1000 * time.Hour) })
		}, longestLog},
		{"none", func() *resource.Commands { return &resource.Commands{} }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var least level
				lines := accesslog.New(slog.New(slog.DiscardHandler))
				c := &commands{
					service: "voting", instance: "a", level: &least, access: lines,
					taps: tap.New(tap.Config{}), logger: slog.New(slog.DiscardHandler),
				}
				follows := func() bool {
					c.expire(time.Now()) // as its timer would
					level := least.asked.Load()
					if (level != nil) != (lines.Share() > 0) {
						t.Errorf("the level is %v, the share of calls %v", level, lines.Share())
					}
					return level != nil && *level == slog.LevelDebug
				}
				c.take(xdsclient.State{Value: tt.commands()}, time.Now())
				if got := follows(); got != (tt.follows > 0) {
					t.Fatalf("it is followed: %v", got)
				}
				if tt.follows == 0 {
					return
				}
				if left, ok := c.expire(time.Now()); !ok || left != tt.follows {
					t.Errorf("for %v, want %v", left, tt.follows)
				}
				time.Sleep(tt.follows - time.Nanosecond)
				if !follows() {
					t.Error("it ended too soon")
				}
				time.Sleep(time.Nanosecond)
				if follows() {
					t.Error("it did not end")
				}
				c.take(xdsclient.State{Value: tt.commands()}, time.Now())
				c.take(xdsclient.State{}, time.Now())
				if follows() {
					t.Error("it is followed although it was taken back")
				}
			})
		})
	}
}
