package data

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tulle-mesh/tulle/bench/proc"
)

// profiles takes a profile of each mode's client and server under one load.
func (r *run) profiles() error {
	if r.Profiles == "" {
		return nil
	}
	if err := os.MkdirAll(r.Profiles, 0o700); err != nil {
		return err
	}
	dir, err := filepath.Abs(r.Profiles)
	if err != nil {
		return err
	}
	plan := saturated
	plan.For = 5 * time.Second
	for _, l := range r.lanes {
		r.Log("profiles: %s", l.name)
		both := []*proc.Process{l.client, l.server}
		for _, p := range both {
			if err := p.Ask("profile", "", nil); err != nil {
				return err
			}
		}
		_, err := l.measure(plan)
		for _, p := range both {
			name := strings.NewReplacer(",", "", " ", "-", "+", "-").Replace(p.Name) + ".pprof"
			err = errors.Join(err, p.Ask("profile", filepath.Join(dir, name), nil))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
