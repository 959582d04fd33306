package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

const (
	// slowInstance takes slowFor for each call, killedInstance dies, when asked to.
	slowInstance   = "voting-3"
	slowFor        = "slow 300ms"
	killedInstance = "voting-2"
	// appliedWithin bounds the wait for processes to follow a change.
	appliedWithin = 5 * time.Second
)

// faulty is voting when it fails a share of its calls on purpose.
const faulty = `apiVersion: tulle/v1
kind: Service
metadata: {name: voting}
spec:
  timeout: 2s
  admission: {fault: {abort: {code: unavailable, percent: %d}}}
`

// sound is voting as mesh.yaml has it.
const sound = `apiVersion: tulle/v1
kind: Service
metadata: {name: voting}
spec: {timeout: 2s}
`

// Switches bring trouble to a stage, one thing at a time, and take it away again.
type switches struct {
	stage *stage

	mu       sync.Mutex // held while something is done
	state    switchState
	happened []line // the newest last
}

// A switchState is how the switches stand.
type switchState struct {
	// Faults is the share of votes, in percent, that voting fails on purpose.
	Faults int  `json:"faults"`
	Slow   bool `json:"slow"`
	Killed bool `json:"killed"`
	// ServerKilled is whether xdsserver is dead.
	ServerKilled bool `json:"serverKilled"`
}

// A line is something that was done.
type line struct {
	At   time.Time `json:"at"`
	Says string    `json:"says"`
}

func (s *switches) say(what string) {
	s.happened = append(s.happened, line{time.Now(), what})
	if len(s.happened) > 20 {
		s.happened = slices.Delete(s.happened, 0, len(s.happened)-20)
	}
}

// look returns how the switches stand and what was done.
func (s *switches) look() (switchState, []line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, slices.Clone(s.happened)
}

// turn sets the switch called name.
func (s *switches) turn(ctx context.Context, name, value string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	on := value == "on"
	switch name {
	case "faults":
		percent, err := strconv.Atoi(value)
		if err != nil || percent < 0 || percent > 100 {
			return fmt.Errorf("faults %q: want a percentage", value)
		}
		return s.fault(ctx, percent)
	case "slow":
		return s.slow(on)
	case "kill":
		return s.kill(on)
	case "server":
		return s.killServer(ctx, on)
	case "rotate":
		return s.rotate(ctx)
	}
	return fmt.Errorf("there is no switch %q", name)
}

func (s *switches) fault(ctx context.Context, percent int) error {
	if percent == s.state.Faults {
		return nil
	}
	yaml, says := sound, "voting fails no call on purpose any more"
	if percent > 0 {
		yaml = fmt.Sprintf(faulty, percent)
		says = fmt.Sprintf("voting fails %d%% of its calls on purpose; callers try once more", percent)
	}
	if err := s.stage.server.apply(ctx, "grid", yaml, appliedWithin); err != nil {
		return err
	}
	s.state.Faults = percent
	s.say(says)
	return nil
}

func (s *switches) slow(on bool) error {
	order, says := "well", slowInstance+" is itself again"
	if on {
		order, says = slowFor, slowInstance+" takes 300 ms for each call: callers find out and avoid it"
	}
	if err := s.stage.crew.tell(slowInstance, order); err != nil {
		return err
	}
	s.state.Slow = on
	s.say(says)
	return nil
}

func (s *switches) kill(on bool) error {
	if on == s.state.Killed {
		return nil
	}
	says := killedInstance + " is back"
	if on {
		if err := s.stage.crew.kill(killedInstance); err != nil {
			return err
		}
		says = killedInstance + " is killed: its calls go elsewhere at once"
	} else if err := s.stage.start(killedInstance); err != nil {
		return err
	}
	s.state.Killed = on
	s.say(says)
	return nil
}

func (s *switches) killServer(ctx context.Context, on bool) error {
	if on == s.state.ServerKilled {
		return nil
	}
	says := "xdsserver is back: everybody is current within seconds"
	if on {
		if err := s.stage.crew.kill("xdsserver"); err != nil {
			return err
		}
		says = "xdsserver is killed: calls go on by the last configuration"
	} else if err := s.stage.server.start(ctx); err != nil {
		return err
	}
	s.state.ServerKilled = on
	s.say(says)
	return nil
}

func (s *switches) rotate(ctx context.Context) error {
	if _, err := s.stage.server.admin.RotateAuthority(ctx, &adminv1.RotateAuthorityRequest{}); err != nil {
		return fmt.Errorf("rotate the authority: %w", err)
	}
	s.say("the authority gets a new root, and every process a new certificate, while calls go on")
	return nil
}
