package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tulle-mesh/tulle/examples/demo/votev1"
)

// allowed is who may call whom in every scenario.
const allowed = `apiVersion: tulle/v1
kind: AccessPolicy
metadata: {name: web}
spec: {allow: [{from: [traffic]}]}
---
apiVersion: tulle/v1
kind: AccessPolicy
metadata: {name: voting}
spec: {allow: [{from: [web]}]}
`

// A play is a scenario while it is played.
type play struct {
	scenario
	stage *stage
	web   votev1.WebServiceClient
	rps   float64
	say   func(format string, args ...any)
}

// run plays all phases, each for as long as d.
func (p *play) run(ctx context.Context, d time.Duration) ([]measure, error) {
	var all []measure
	for _, phase := range p.phases {
		if err := p.set(ctx, phase); err != nil {
			return nil, err
		}
		p.say("%s: %s", phase.name, phase.says)
		if phase.apply != "" {
			p.say("\n%s", indent(phase.apply))
		}
		before := p.reached()
		m := p.measure(ctx, d)
		// Instances tell what they count four times a second.
		if err := rest(ctx, 2*reportEvery); err != nil {
			return nil, err
		}
		m.Phase, m.Says = phase.name, phase.says
		m.Instances, m.Attempts = p.shares(before, m.Calls)
		all = append(all, m)
	}
	return all, nil
}

// set brings about what a phase begins with.
func (p *play) set(ctx context.Context, phase phase) error {
	for name, order := range phase.orders {
		if err := p.stage.crew.tell(name, order); err != nil {
			return err
		}
	}
	if phase.apply != "" {
		if err := p.stage.server.apply(ctx, p.name, phase.apply, 5*time.Second); err != nil {
			return err
		}
	}
	for _, name := range phase.kill {
		if err := p.stage.crew.kill(name); err != nil {
			return err
		}
	}
	for _, name := range phase.start {
		if err := p.stage.start(name); err != nil {
			return err
		}
	}
	return nil
}

// playScenario starts a mesh for a scenario, plays it and prints what it came to.
func playScenario(ctx context.Context, s scenario, rps float64, d time.Duration, format string) (err error) {
	crew, done, err := newCrew()
	if err != nil {
		return err
	}
	defer func() { err = done(err) }()
	say := func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

	say("%s: %s\nstarting xdsserver and %d instances ...", s.name, s.says, len(s.instances))
	server, err := startServer(ctx, crew, allowed)
	if err != nil {
		return err
	}
	p := &play{scenario: s, stage: newStage(crew, server, s.instances), rps: rps, say: say}
	for name := range p.stage.instances {
		if err := p.stage.start(name); err != nil {
			return err
		}
	}
	if err := server.await(ctx, len(s.instances)); err != nil {
		return err
	}
	say("all in the mesh: export TULLE_ADMIN=%s\n", server.url)
	t, closeTraffic, err := newTraffic(ctx, server.mesh)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeTraffic()) }()
	p.web = t.web

	all, err := p.run(ctx, d)
	if err != nil {
		return err
	}
	if format == "json" {
		return json.NewEncoder(os.Stdout).Encode(struct {
			Scenario string    `json:"scenario"`
			Says     string    `json:"says"`
			Phases   []measure `json:"phases"`
		}{s.name, s.says, all})
	}
	fmt.Println(p.table(all))
	return nil
}

func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n    ") + "\n"
}
