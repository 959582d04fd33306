package control

import (
	"context"
	"time"
)

// A storm is what changes without end, each of another service in turn, came to.
type storm struct {
	cost

	// planned is how long it was to last, and made how many changes were in it.
	planned time.Duration
	made    int
	// stale is how long each client was without each change that it subscribes to, from
	// when that was due; a change that the next one overtook counts until that came.
	stale []time.Duration
	// after is how long it took from the last change until everybody had the last state.
	after time.Duration
	// lost is how many clients never had it.
	lost int
}

// storm makes changes at a rate. A server that cannot keep it up is late, which counts as
// staleness, and makes fewer.
func (f *fleet) storm(ctx context.Context, rate int, planned time.Duration) (s storm, err error) {
	due := make(map[uint32]time.Time)
	s.planned = planned
	f.reset()
	s.cost, err = f.cost(ctx, func() error {
		begin := time.Now()
		total := int(planned.Seconds() * float64(rate))
		for s.made < total && time.Since(begin) < planned && ctx.Err() == nil {
			at := begin.Add(time.Duration(s.made) * time.Second / time.Duration(rate))
			pause(ctx, time.Until(at))
			if _, err := f.publish(endpoints, s.made%f.world.services); err != nil {
				return err
			}
			due[uint32(f.number)] = at
			s.made++
		}
		last := time.Now()
		s.lost = f.converge(ctx)
		s.after = time.Since(last)
		return ctx.Err()
	})
	if err != nil {
		return s, err
	}
	services := f.byService(due)
	for _, c := range f.clients {
		for _, a := range c.arrivals() {
			for _, number := range services[a.service] {
				if a.before < number && number <= a.number {
					s.stale = append(s.stale, a.at.Sub(due[number]))
				}
			}
		}
	}
	return s, nil
}

// byService sorts the changes of a storm, the last ones, by their service.
func (f *fleet) byService(due map[uint32]time.Time) map[int][]uint32 {
	services := make(map[int][]uint32)
	first := f.number - len(due) + 1
	for i := range len(due) {
		service := i % f.world.services
		services[service] = append(services[service], uint32(first+i))
	}
	return services
}

// converge waits until everybody has the last endpoints of all services, and returns how
// many do not within patience.
func (f *fleet) converge(ctx context.Context) (lost int) {
	const tick = 5 * time.Millisecond
	behind := f.clients
	for end := time.Now().Add(patience); time.Now().Before(end) && ctx.Err() == nil; pause(ctx, tick) {
		for len(behind) > 0 && behind[0].current(f.last) {
			behind = behind[1:]
		}
		if len(behind) == 0 {
			return 0
		}
	}
	for _, c := range behind {
		if !c.current(f.last) {
			lost++
		}
	}
	return lost
}

// current reports whether the client has the last endpoints.
func (c *client) current(last []uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, service := range c.services {
		if c.have[endpoints][i] != last[service] {
			return false
		}
	}
	return true
}
