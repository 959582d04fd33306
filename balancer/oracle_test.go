package balancer_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
)

// TestOracle plays each scenario twice, on this package and on grpc-go's own xDS
// policies, with the same resources, backends and virtual time. Both must see
// the same, and what is written beside the scenario.
func TestOracle(t *testing.T) {
	stacks := map[string]func(*testing.T, *world) stack{"ours": oursAsStack, "grpc-go": theirsAsStack}
	for _, s := range slices.Concat(priorityScenarios, loadScenarios, endpointScenarios) {
		t.Run(s.name, func(t *testing.T) {
			for name, open := range stacks {
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						p := &play{world: newWorld(t)}
						p.stack = open(t, p.world)
						p.conn = p.stack.connection()
						s.play(p)
						if diff := cmp.Diff(s.want, p.seen); diff != "" {
							t.Errorf("seen (-want +got):\n%s", diff)
						}
					})
				})
			}
		})
	}
}

// A scenario is a play and what is seen in it.
type scenario struct {
	name string
	play func(p *play)
	want []string
}

// A stack balances one service as its spec says.
type stack interface {
	update(s spec)
	connection() *grpc.ClientConn
}

func oursAsStack(t *testing.T, w *world) stack {
	t.Helper()
	return newOurs(t, w, nil)
}

func theirsAsStack(t *testing.T, w *world) stack {
	t.Helper()
	return newTheirs(t, w)
}

// A play is a world, a connection to it, and what was seen.
type play struct {
	*world
	stack

	conn *grpc.ClientConn
	seen []string

	held    sync.WaitGroup
	results chan string
}

func (p *play) notef(format string, args ...any) {
	p.seen = append(p.seen, fmt.Sprintf(format, args...))
}

// start brings backends up, one letter each, and configures them.
func (p *play) start(backends string, s spec) {
	p.up(strings.Split(backends, "")...)
	p.configure(s)
}

func (p *play) configure(s spec) {
	p.update(s)
	synctest.Wait()
}

// wait lets time pass.
func (p *play) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// stop takes backends down and lets connections notice.
func (p *play) stop(names ...string) {
	p.down(names...)
	synctest.Wait()
}

// silence makes backends say nothing any more and lets connections notice that theirs
// are lost: a call at the same instant may else be sent on one.
func (p *play) silence(names ...string) {
	p.world.silence(names...)
	synctest.Wait()
}

const enough = 60 // calls, to see all of a few backends

// look notes who answers calls now.
func (p *play) look(when string) {
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	var who []string
	for name := range tally(ctx, p.conn, enough) {
		who = append(who, name)
	}
	slices.Sort(who)
	p.notef("%s: %s", when, strings.Join(who, " "))
}

// one notes who answers a call with a deadline.
func (p *play) one(when string, deadline time.Duration, opts ...grpc.CallOption) {
	ctx, cancel := context.WithTimeout(p.t.Context(), deadline)
	defer cancel()
	p.notef("%s: %s", when, who(ctx, p.conn, whoMethod, opts...))
}

// share notes whether of many calls as many as chance allows were answered by
// name: within five standard deviations of the fraction.
func (p *play) share(when, name string, fraction float64) {
	const n = 1500
	got := float64(tally(p.t.Context(), p.conn, n)[name])
	if math.Abs(got-n*fraction) <= 5*math.Sqrt(n*fraction*(1-fraction)) {
		got = n * fraction
	}
	p.notef("%s: %s %g %%", when, name, got/n*100)
}

// begin makes n calls at one time that are answered when release is called, and
// notes how many ended at once, and how.
func (p *play) begin(when string, n int, opts ...grpc.CallOption) {
	p.results = make(chan string, n)
	for range n {
		p.held.Go(func() { p.results <- who(p.t.Context(), p.conn, holdMethod, opts...) })
	}
	synctest.Wait()
	p.notef("%s: %s", when, p.ended())
}

// release lets the calls of begin end and notes how.
func (p *play) release(when string) {
	close(p.hold)
	p.held.Wait()
	p.hold = make(chan struct{})
	p.notef("%s: %s", when, p.ended())
}

// ended counts results so far.
func (p *play) ended() string {
	got := make(map[string]int)
	for range len(p.results) {
		got[<-p.results]++
	}
	return strings.Trim(strings.TrimPrefix(fmt.Sprint(got), "map"), "[]")
}

// connections notes how many connections to a backend are open.
func (p *play) connections(when, name string) { p.notef("%s: %d to %s", when, p.connected(name), name) }
