package balancer_test

import (
	"time"

	"google.golang.org/grpc"
)

// These hold what becomes of calls when endpoints come and go.
var endpointScenarios = []scenario{
	{
		name: "without endpoints calls fail at once, and waiting ones wait",
		play: func(p *play) {
			p.start("a", one(""))
			p.one("none", time.Millisecond)
			p.one("none, waiting for ready", time.Second, grpc.WaitForReady(true))
			p.configure(one("a"))
			p.look("one")
			p.configure(one(""))
			p.one("none again", time.Millisecond)
			p.connections("none again", "a")
		},
		want: []string{
			"none: Unavailable", "none, waiting for ready: DeadlineExceeded", "one: a",
			"none again: Unavailable", "none again: 0 to a",
		},
	},
	{
		name: "without localities calls fail at once",
		play: func(p *play) {
			p.start("a", spec{})
			p.one("none", time.Millisecond)
			p.configure(one("a"))
			p.look("one")
			p.configure(spec{})
			p.one("none again", time.Millisecond)
		},
		want: []string{"none: Unavailable", "one: a", "none again: Unavailable"},
	},
	{
		name: "calls wait while the only endpoint connects",
		play: func(p *play) {
			p.silence("a")
			p.start("", one("a"))
			p.one("connecting", 5*time.Second)
			p.stop("a")
			p.wait(time.Minute)
			p.one("failed", time.Millisecond)
		},
		want: []string{"connecting: DeadlineExceeded", "failed: Unavailable"},
	},
	{
		name: "a call in flight to an endpoint that leaves completes",
		play: func(p *play) {
			p.start("ab", one("a"))
			p.begin("to a", 1)
			p.configure(one("b"))
			p.look("a left")
			p.connections("a left", "a")
			p.release("the call")
			p.wait(time.Second)
			p.connections("the call over", "a")
		},
		want: []string{"to a: ", "a left: b", "a left: 1 to a", "the call: a:1", "the call over: 0 to a"},
	},
	{
		name: "a call in flight to an endpoint that breaks fails",
		play: func(p *play) {
			p.start("ab", one("a"))
			p.begin("to a", 1)
			p.stop("a")
			p.release("the call")
		},
		want: []string{"to a: ", "the call: Unavailable:1"},
	},
	{
		name: "endpoints come and go one by one",
		play: func(p *play) {
			p.start("abc", one("a"))
			p.look("a")
			p.configure(one("ab"))
			p.look("b came")
			p.configure(one("abc"))
			p.look("c came")
			p.configure(one("bc"))
			p.look("a left")
			p.notef("%d dials to b", p.dialled("b"))
		},
		want: []string{"a: a", "b came: a b", "c came: a b c", "a left: b c", "1 dials to b"},
	},
	{
		name: "all endpoints are replaced while the old ones are down",
		play: func(p *play) {
			p.start("ab", one("a"))
			p.look("old")
			p.stop("a")
			p.wait(time.Second)
			p.one("old down", time.Millisecond)
			p.configure(one("b"))
			p.look("new")
		},
		want: []string{"old: a", "old down: Unavailable", "new: b"},
	},
	{
		name: "an endpoint that moves to another locality keeps its connection",
		play: func(p *play) {
			p.start("ab", spec{localities: []place{{zone: "x", backends: "a"}, {zone: "y", backends: "b"}}})
			p.look("apart")
			p.configure(spec{localities: []place{{zone: "x", backends: "ab"}}})
			p.look("together")
		},
		want: []string{"apart: a b", "together: a b"},
	},
}
