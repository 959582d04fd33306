package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tulle-mesh/tulle/examples/demo/votev1"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
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
	crew  *crew
	admin adminv1connect.AdminServiceClient
	env   []string // of every instance
	web   votev1.WebServiceClient
	rps   float64
	say   func(format string, args ...any)
}

// named are the scenario's instances with their names: "voting-3" is the fourth of all.
func (s scenario) named() map[string]instance {
	all := make(map[string]instance, len(s.instances))
	for i, in := range s.instances {
		all[fmt.Sprintf("%s-%d", in.service, i)] = in
	}
	return all
}

func (p *play) start(name string, in instance) error {
	return p.crew.start(name, in.service, nil, slices.Concat(p.env, []string{
		"TULLE_SERVICE=" + in.service, "TULLE_VERSION=" + in.version, "TULLE_ZONE=" + in.zone, "TULLE_INSTANCE=" + name,
		"TULLE_STATE_DIR=" + filepath.Join(p.crew.dir, "state-"+name),
	})...)
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
		if err := p.crew.tell(name, order); err != nil {
			return err
		}
	}
	if phase.apply != "" {
		answer, err := p.admin.Apply(ctx, &adminv1.ApplyRequest{
			Manifests: []*adminv1.Manifest{{Origin: p.name, Yaml: phase.apply}},
			Wait:      durationpb.New(5 * time.Second),
		})
		if err != nil {
			return fmt.Errorf("apply: %w", err)
		}
		for _, r := range answer.GetResults() {
			for _, problem := range r.GetProblems() {
				if !problem.GetWarning() {
					return fmt.Errorf("apply: %s", problem.GetMessage())
				}
			}
		}
	}
	for _, name := range phase.kill {
		if err := p.crew.kill(name); err != nil {
			return err
		}
	}
	all := p.named()
	for _, name := range phase.start {
		if err := p.start(name, all[name]); err != nil {
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
	server, admin, err := startServer(ctx, crew, []byte(allowed))
	if err != nil {
		return err
	}
	p := &play{
		scenario: s, crew: crew, rps: rps, say: say,
		admin: adminv1connect.NewAdminServiceClient(http.DefaultClient, admin),
		env:   []string{"TULLE_SERVER=" + server},
	}
	for i, in := range s.instances {
		if err := p.start(fmt.Sprintf("%s-%d", in.service, i), in); err != nil {
			return err
		}
	}
	if err := awaitEndpoints(ctx, crew, admin, len(s.instances)); err != nil {
		return err
	}
	say("all in the mesh: export TULLE_ADMIN=%s\n", admin)
	t, closeTraffic, err := newTraffic(ctx, server)
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
