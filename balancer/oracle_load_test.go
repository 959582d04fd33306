package balancer_test

import (
	"time"

	"google.golang.org/grpc"
)

// These hold drops and the limit of open calls (gRFC A32), and localities.
var loadScenarios = []scenario{
	{
		name: "a drop of nothing drops nothing",
		play: func(p *play) {
			s := one("a")
			s.drops = []uint32{0}
			p.start("a", s)
			p.share("calls", "a", 1)
		},
		want: []string{"calls: a 100 %"},
	},
	{
		name: "a drop of all drops all, and waiting for ready does not help",
		play: func(p *play) {
			s := one("a")
			s.drops = []uint32{100}
			p.start("a", s)
			p.look("calls")
			p.one("waiting for ready", time.Second, grpc.WaitForReady(true))
		},
		want: []string{"calls: Unavailable", "waiting for ready: Unavailable"},
	},
	{
		name: "a drop of some drops as many",
		play: func(p *play) {
			s := one("a")
			s.drops = []uint32{30}
			p.start("a", s)
			p.share("calls", "Unavailable", 0.3)
		},
		want: []string{"calls: Unavailable 30 %"},
	},
	{
		name: "each category of drops draws anew",
		play: func(p *play) {
			s := one("a")
			s.drops = []uint32{50, 50}
			p.start("a", s)
			p.share("calls", "a", 0.25)
		},
		want: []string{"calls: a 25 %"},
	},
	{
		name: "a drop begins and ends with an update",
		play: func(p *play) {
			s := one("a")
			p.start("a", s)
			p.look("without")
			s.drops = []uint32{100}
			p.configure(s)
			p.look("with")
			s.drops = nil
			p.configure(s)
			p.look("without again")
		},
		want: []string{"without: a", "with: Unavailable", "without again: a"},
	},
	{
		name: "nothing is dropped where nothing is ready",
		play: func(p *play) {
			s := one("a")
			s.drops = []uint32{100}
			p.silence("a")
			p.start("", s)
			p.one("connecting", 5*time.Second)
			p.stop("a")
			p.wait(time.Minute)
			p.one("down, waiting for ready", 5*time.Second, grpc.WaitForReady(true))
		},
		want: []string{"connecting: DeadlineExceeded", "down, waiting for ready: DeadlineExceeded"},
	},
	{
		name: "calls over the limit are refused until one ends",
		play: func(p *play) {
			s := one("a")
			s.limit = 2 + 1
			p.start("a", s)
			p.look("at first")
			p.begin("5 at one time", 5)
			p.one("one more, waiting for ready", time.Second, grpc.WaitForReady(true))
			p.release("in the end")
			p.look("then")
		},
		want: []string{
			"at first: a", "5 at one time: Unavailable:3", "one more, waiting for ready: Unavailable",
			"in the end: a:2", "then: a",
		},
	},
	{
		name: "a limit of nothing refuses all",
		play: func(p *play) {
			s := one("a")
			s.limit = 0 + 1
			p.start("a", s)
			p.look("ready")
			p.silence("a")
			p.one("connecting", time.Second)
		},
		want: []string{"ready: Unavailable", "connecting: Unavailable"},
	},
	{
		name: "the limit is 1024 unless said otherwise",
		play: func(p *play) {
			p.start("ab", one("ab"))
			p.begin("1030 at one time", 1030)
			p.release("in the end")
		},
		want: []string{"1030 at one time: Unavailable:6", "in the end: a:512 b:512"},
	},
	{
		name: "the limit follows an update, and open calls count on",
		play: func(p *play) {
			s := one("a")
			s.limit = 3 + 1
			p.start("a", s)
			p.look("at first")
			p.begin("3 at one time", 3)
			s.limit = 2 + 1
			p.configure(s)
			p.one("lowered", time.Second)
			s.limit = 4 + 1
			p.configure(s)
			p.one("raised", time.Second)
			p.release("in the end")
		},
		want: []string{"at first: a", "3 at one time: ", "lowered: Unavailable", "raised: a", "in the end: a:3"},
	},
	{
		name: "calls that wait for an endpoint are not open yet",
		play: func(p *play) {
			s := one("a")
			s.limit = 1 + 1
			p.silence("a")
			p.start("", s)
			p.begin("3 waiting", 3, grpc.WaitForReady(true))
			p.stop("a")
			p.up("a")
			p.wait(time.Minute)
			p.notef("ready: %s", p.ended())
			p.release("in the end")
		},
		want: []string{"3 waiting: ", "ready: Unavailable:2", "in the end: a:1"},
	},
	{
		name: "localities share by weight while they are ready",
		play: func(p *play) {
			s := spec{localities: []place{{zone: "x", weight: 3, backends: "ab"}, {zone: "y", weight: 1, backends: "c"}}}
			p.start("abc", s)
			p.share("3 to 1", "c", 0.25)
			s.localities[1].weight = 9
			p.configure(s)
			p.share("3 to 9", "c", 0.75)
			p.stop("a")
			p.share("half of the lighter down", "b", 0.25)
			p.stop("b")
			p.share("the lighter down", "c", 1)
		},
		want: []string{"3 to 1: c 25 %", "3 to 9: c 75 %", "half of the lighter down: b 25 %", "the lighter down: c 100 %"},
	},
	{
		name: "within a locality endpoints take turns whatever their weight",
		play: func(p *play) {
			p.start("ab", spec{localities: []place{{zone: "x", backends: "ab", heavy: "b"}}})
			p.share("1 to 9", "b", 0.5)
		},
		want: []string{"1 to 9: b 50 %"},
	},
}
