package consul

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// join emits parts until ctx ends.
func (c *catalog) join(ctx context.Context, emit func(catalogPart)) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	var last *whole
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		began := time.Now()
		if w := c.whole(); w != nil && !w.same(last) {
			emit(w.part())
			last = w
		}
		// A change after a quiet time is told at once, a storm of them together; and a
		// catalog that keeps a core busy leaves half of it to others.
		pause.Reset(time.Since(began))
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// A whole is what a part is made of.
type whole struct {
	views  []*view // in order
	known  bool
	err    error
	beyond int
}

// whole returns nil while there is neither a whole nor an error.
func (c *catalog) whole() *whole {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &whole{views: make([]*view, 0, len(c.services)), err: c.err, beyond: c.beyond}
	unknown := 0
	for _, s := range c.services {
		if s.view == nil || !s.view.known {
			unknown++
		}
		if s.view == nil {
			continue
		}
		w.views = append(w.views, s.view)
		if w.err == nil {
			w.err = s.view.err // one stands for all: most fail together
		}
	}
	c.complete = c.complete || c.listed && unknown == 0
	w.known = c.complete
	if !w.known && c.err == nil && (w.err == nil || len(w.views) < len(c.services)) {
		return nil
	}
	return w
}

func (w *whole) same(o *whole) bool {
	return o != nil && w.known == o.known && w.beyond == o.beyond && fmt.Sprint(w.err) == fmt.Sprint(o.err) && slices.Equal(w.views, o.views)
}

func (w *whole) part() catalogPart {
	total := 0
	for _, v := range w.views {
		total += len(v.instances)
	}
	p := catalogPart{part: part{known: w.known, err: w.err}, instances: make([]instance, 0, total)}
	for _, v := range w.views {
		p.instances = append(p.instances, v.instances...)
		p.own = append(p.own, v.own...)
		p.problems = append(p.problems, v.problems...)
	}
	if w.beyond > 0 {
		p.problems = append(p.problems, model.Problem{
			From: Name, Field: "services", Warning: true,
			Message: fmt.Sprintf("Consul has %d services beyond the %d that one xdsserver reads: choose by a tag", w.beyond, maxServices),
		})
	}
	return p
}
