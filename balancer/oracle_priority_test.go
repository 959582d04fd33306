package balancer_test

import (
	"time"

	"google.golang.org/grpc"
)

// These hold gRFC A56 as grpc-go reads it.
var priorityScenarios = []scenario{
	{
		name: "the next priority takes over from one that is down, until it is back",
		play: func(p *play) {
			p.start("abcd", ranked("ab", "cd"))
			p.look("at first")
			p.connections("before it is needed", "c")
			p.stop("a", "b")
			p.look("p0 down")
			p.up("a")
			p.wait(time.Minute)
			p.look("one of p0 back")
		},
		want: []string{"at first: a b", "before it is needed: 0 to c", "p0 down: c d", "one of p0 back: a"},
	},
	{
		name: "a priority that is partly down is not left",
		play: func(p *play) {
			p.start("abc", ranked("ab", "c"))
			p.look("at first")
			p.stop("a")
			p.look("one down")
			p.wait(time.Minute)
			p.look("a minute later")
			p.connections("never needed", "c")
		},
		want: []string{"at first: a b", "one down: b", "a minute later: b", "never needed: 0 to c"},
	},
	{
		name: "a priority that refuses from the start is skipped at once",
		play: func(p *play) {
			p.start("c", ranked("ab", "c"))
			p.one("a call", time.Millisecond)
		},
		want: []string{"a call: c"},
	},
	{
		name: "a priority that does not connect is waited for ten seconds",
		play: func(p *play) {
			p.silence("a")
			p.start("b", ranked("a", "b"))
			p.one("in 9.9 s", 9900*time.Millisecond)
			p.connections("in 9.9 s", "b")
			p.one("then", 101*time.Millisecond)
		},
		want: []string{"in 9.9 s: DeadlineExceeded", "in 9.9 s: 0 to b", "then: b"},
	},
	{
		name: "a priority whose connection is lost and does not come back is waited for ten seconds",
		play: func(p *play) {
			p.start("ab", ranked("a", "b"))
			p.look("at first")
			p.silence("a")
			p.one("silent for 9.9 s", 9900*time.Millisecond)
			p.one("then", 101*time.Millisecond)
		},
		want: []string{"at first: a", "silent for 9.9 s: DeadlineExceeded", "then: b"},
	},
	{
		name: "a connection that comes back in time costs no change of priority",
		play: func(p *play) {
			p.start("ab", ranked("a", "b"))
			p.look("at first")
			p.silence("a")
			p.wait(5 * time.Second)
			p.connections("lost for 5 s", "b")
		},
		want: []string{"at first: a", "lost for 5 s: 0 to b"},
	},
	{
		name: "a priority without endpoints is skipped",
		play: func(p *play) {
			p.start("b", ranked("", "b"))
			p.one("a call", time.Millisecond)
		},
		want: []string{"a call: b"},
	},
	{
		name: "unhealthy endpoints do not count",
		play: func(p *play) {
			s := ranked("a", "b")
			s.localities[0].backends, s.localities[0].sick = "", "a"
			p.start("ab", s)
			p.one("a call", time.Millisecond)
		},
		want: []string{"a call: b"},
	},
	{
		name: "of three priorities the best that is up serves",
		play: func(p *play) {
			p.start("c", ranked("a", "b", "c"))
			p.look("only p2 up")
			p.up("b")
			p.wait(time.Minute)
			p.look("p1 up")
			p.up("a")
			p.wait(3 * time.Minute)
			p.look("p0 up")
			p.stop("a")
			p.look("p0 down")
		},
		want: []string{"only p2 up: c", "p1 up: b", "p0 up: a", "p0 down: b"},
	},
	{
		name: "when all are down calls fail, and waiting ones wait",
		play: func(p *play) {
			p.start("ab", ranked("a", "b"))
			p.look("at first")
			p.stop("a", "b")
			p.look("all down")
			p.one("waiting for ready", 10*time.Second, grpc.WaitForReady(true))
			p.up("b")
			p.one("waiting for ready, p1 back", 2*time.Minute, grpc.WaitForReady(true))
			p.up("a")
			p.wait(3 * time.Minute)
			p.look("p0 back")
		},
		want: []string{
			"at first: a", "all down: Unavailable", "waiting for ready: DeadlineExceeded",
			"waiting for ready, p1 back: b", "p0 back: a",
		},
	},
	{
		name: "a priority that is not needed any more stays connected for fifteen minutes",
		play: func(p *play) {
			p.start("b", ranked("a", "b"))
			p.look("p0 down")
			p.up("a")
			p.wait(time.Minute)
			p.look("p0 back")
			p.connections("soon after", "b")
			p.wait(13 * time.Minute)
			p.connections("13 min later", "b")
			p.wait(3 * time.Minute)
			p.connections("16 min later", "b")
			p.stop("a")
			p.look("p0 down again")
		},
		want: []string{
			"p0 down: b", "p0 back: a", "soon after: 1 to b", "13 min later: 1 to b", "16 min later: 0 to b",
			"p0 down again: b",
		},
	},
	{
		name: "a priority that is needed again in time is still connected",
		play: func(p *play) {
			p.start("b", ranked("a", "b"))
			p.look("p0 down")
			p.up("a")
			p.wait(time.Minute)
			p.look("p0 back")
			p.stop("a")
			p.look("p0 down again")
			p.wait(20 * time.Minute)
			p.look("for long")
			p.notef("%d dials to b", p.dialled("b"))
		},
		want: []string{"p0 down: b", "p0 back: a", "p0 down again: b", "for long: b", "1 dials to b"},
	},
	{
		name: "an update that swaps priorities swaps their use",
		play: func(p *play) {
			s := ranked("a", "b")
			p.start("ab", s)
			p.look("at first")
			s.localities[0].priority, s.localities[1].priority = 1, 0
			p.configure(s)
			p.look("swapped")
			p.stop("b")
			p.look("the new p0 down")
		},
		want: []string{"at first: a", "swapped: b", "the new p0 down: a"},
	},
	{
		name: "an update without the priority in use moves to the next",
		play: func(p *play) {
			s := ranked("a", "b")
			p.start("ab", s)
			p.look("at first")
			s.localities = s.localities[1:]
			s.localities[0].priority = 0
			p.configure(s)
			p.look("without p0")
			p.connections("without p0", "a")
		},
		want: []string{"at first: a", "without p0: b", "without p0: 0 to a"},
	},
	{
		name: "an update with a better priority waits for it ten seconds",
		play: func(p *play) {
			s := ranked("b")
			p.start("b", s)
			p.look("at first")
			p.silence("a")
			s.localities = append(s.localities, place{zone: "new", backends: "a"})
			s.localities[0].priority = 1
			p.configure(s)
			p.one("in 9.9 s", 9900*time.Millisecond)
			p.one("then", 101*time.Millisecond)
			p.connections("then", "b")
			p.notef("%d dials to b", p.dialled("b"))
		},
		want: []string{"at first: b", "in 9.9 s: DeadlineExceeded", "then: b", "then: 1 to b", "1 dials to b"},
	},
	{
		name: "endpoints new to a priority that is down do not earn it time",
		play: func(p *play) {
			s := ranked("a", "b")
			p.start("b", s)
			p.look("p0 down")
			p.silence("c")
			s.localities[0].backends = "ac"
			p.configure(s)
			p.one("p0 connecting", time.Millisecond)
			p.stop("c")
			p.up("c")
			p.wait(2 * time.Minute)
			p.look("p0 up")
		},
		want: []string{"p0 down: b", "p0 connecting: b", "p0 up: c"},
	},
	{
		name: "a locality new to a priority that is down does not earn it time",
		play: func(p *play) {
			s := ranked("a", "b")
			p.start("b", s)
			p.look("p0 down")
			p.silence("c")
			s.localities = append(s.localities, place{zone: "new", backends: "c"})
			p.configure(s)
			p.one("p0 connecting", time.Millisecond)
			p.stop("c")
			p.up("c")
			p.wait(2 * time.Minute)
			p.look("p0 up")
		},
		want: []string{"p0 down: b", "p0 connecting: b", "p0 up: c"},
	},
	{
		name: "endpoints new to a priority that is not needed are not dialled",
		play: func(p *play) {
			s := ranked("a", "b")
			p.start("bc", s)
			p.look("p0 down")
			p.up("a")
			p.wait(time.Minute)
			p.look("p0 back")
			s.localities[1].backends = "bc"
			p.configure(s)
			p.connections("kept", "b")
			p.connections("new", "c")
			p.stop("a")
			p.look("p0 down again")
		},
		want: []string{"p0 down: b", "p0 back: a", "kept: 1 to b", "new: 0 to c", "p0 down again: b c"},
	},
	{
		name: "a priority that was down and came back is given time anew",
		play: func(p *play) {
			p.start("b", ranked("a", "b"))
			p.look("down")
			p.up("a")
			p.wait(time.Minute)
			p.look("back")
			p.silence("a")
			p.one("silent for 9.9 s", 9900*time.Millisecond)
			p.one("then", 101*time.Millisecond)
		},
		want: []string{"down: b", "back: a", "silent for 9.9 s: DeadlineExceeded", "then: b"},
	},
	{
		name: "two priorities that merge go on with the time of the better one",
		play: func(p *play) {
			s := ranked("b", "a", "c")
			s.localities[0].priority, s.localities[1].priority = 1, 0
			p.silence("a", "b")
			p.start("c", s)
			p.wait(9 * time.Second)
			s.localities[0].priority, s.localities[2].priority = 0, 1
			p.configure(s)
			p.one("in 9.9 s", 900*time.Millisecond)
			p.one("then", 101*time.Millisecond)
		},
		want: []string{"in 9.9 s: DeadlineExceeded", "then: c"},
	},
}
