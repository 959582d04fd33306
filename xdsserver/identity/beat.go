package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

const (
	// beatEvery is how often a replica gives a sign of life; beatMost is how long one
	// without may still live. Both are of one's own clock.
	beatEvery, beatMost = 20 * time.Second, time.Minute
	// beatLate is how much later than that a sign of life may come of one that is well.
	beatLate = 5 * time.Second
	// meetEvery is how often signs of life are read, but for a rotation of the root.
	meetEvery = 5 * time.Second
	// maxBeat bounds a sign of life, in bytes, maxReplicas how many are read.
	maxBeat, maxReplicas = 4 << 10, 500
)

// A beat is a replica's sign of life, and what the others need to know of it.
type beat struct {
	Replica string `json:"replica"`
	// Process tells a replica that was started again from two of one name.
	Process string `json:"process"`
	// Acknowledged is the generation that all its clients have; before it has an
	// intermediate under a new root, it is none that holds this root.
	Acknowledged uint64 `json:"acknowledged"`
	// Holds are the roots whose keys it has.
	Holds []string `json:"holds,omitempty"`
	// Count makes each value another.
	Count uint64 `json:"count"`
}

func beatFile(replica string) string { return "replica-" + replica + ".json" }

// beatOf returns the replica whose sign of life is in a file.
func beatOf(name string) (replica string, ok bool) {
	replica, ok = strings.CutPrefix(name, "replica-")
	if !ok {
		return "", false
	}
	replica, ok = strings.CutSuffix(replica, ".json")
	return replica, ok && validReplica(replica)
}

func (b beat) encode() []byte {
	data, _ := json.Marshal(b) //nolint:errchkjson // strings and numbers
	return append(data, '\n')
}

// decodeBeat reads the sign of life of a replica.
func decodeBeat(data []byte, replica string) (beat, error) {
	var b beat
	if len(data) > maxBeat {
		return beat{}, fmt.Errorf("has %d bytes, want %d at most", len(data), maxBeat)
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return beat{}, fmt.Errorf("cannot be read: %w", err)
	}
	if b.Replica != replica {
		return beat{}, fmt.Errorf("is of the replica %.80q", b.Replica)
	}
	return b, nil
}

// A sighting is what a replica was last heard to say.
type sighting struct {
	beat  beat
	index uint64
	// moved is when index was first seen, by the clock of who reads.
	moved time.Time
}

func (s sighting) live(now time.Time) bool { return now.Sub(s.moved) <= beatMost }

// meet reads the others' signs of life. Who reads them for the first time takes each for
// live, until it does not move.
func (c *CA) meet() error {
	c.mu.Lock()
	old, last := c.replicas, c.met
	c.mu.Unlock()
	now := time.Now()
	if v := c.view.Load(); now.Sub(last) < meetEvery && v.state.rootIn(Prepared) == nil {
		return nil
	}
	names, err := c.commons.shared.List()
	if err != nil {
		return unreachableError{fmt.Errorf("identity: list %s: %w", c.commons.shared.Where(""), err)}
	}
	replicas := map[string]sighting{}
	for _, name := range names {
		id, ok := beatOf(name)
		if !ok || id == c.config.Replica || len(replicas) == maxReplicas {
			continue
		}
		data, index, err := c.commons.fetch(name)
		if errors.As(err, &unreachableError{}) {
			return err
		}
		if err != nil {
			continue // gone since
		}
		s := old[id]
		if s.index != index || s.moved.IsZero() {
			b, err := decodeBeat(data, id)
			if err != nil {
				c.logger.Warn("the sign of life of a replica is none", "where", c.commons.shared.Where(name), "error", err)
			}
			s = sighting{beat: b, index: index, moved: now}
		}
		replicas[id] = s
	}
	c.mu.Lock()
	c.replicas, c.met = replicas, now
	c.mu.Unlock()
	return c.forget(replicas, now)
}

// forget removes the signs of life of replicas that are gone, with all that was theirs.
func (c *CA) forget(replicas map[string]sighting, now time.Time) error {
	s := c.view.Load().state
	for id, r := range replicas {
		if r.live(now) || len(s.owned(id)) > 0 || !c.leads() {
			continue
		}
		if err := c.commons.remove(beatFile(id)); err != nil {
			return err
		}
		c.logger.Info("a replica is forgotten, it is gone and its certificates have expired", "replica", id)
	}
	return nil
}

// tell gives this replica's sign of life, where there is news or it is time.
func (c *CA) tell() error {
	v := c.view.Load()
	b := beat{Replica: c.config.Replica, Process: c.process, Acknowledged: c.acknowledges(v), Holds: v.held(), Count: c.told.beat.Count}
	now := time.Now()
	if t := c.told; t.index != 0 && t.beat.Acknowledged == b.Acknowledged && slices.Equal(t.beat.Holds, b.Holds) && now.Sub(t.moved) < beatEvery {
		return nil
	}
	b.Count++
	name := beatFile(c.config.Replica)
	index, err := c.commons.put(name, b.encode(), c.told.index)
	if errors.Is(err, ErrSharedConflict) {
		if index, err = c.mine(name, now); err != nil {
			return err
		}
		index, err = c.commons.put(name, b.encode(), index)
	}
	if err != nil {
		return err
	}
	c.told, c.twin = sighting{beat: b, index: index, moved: now}, sighting{}
	return nil
}

// mine returns the index of this replica's sign of life where another than expected is
// there: one of an earlier process, or of one that has the same name by mistake.
func (c *CA) mine(name string, now time.Time) (uint64, error) {
	data, index, err := c.commons.fetch(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	b, err := decodeBeat(data, c.config.Replica)
	if own := err != nil || b.Process == c.process; own || c.told.index == 0 {
		return index, nil // what is no sign of life is written over
	}
	if c.twin.index != index {
		c.twin = sighting{beat: b, index: index, moved: now}
	}
	if !c.twin.live(now) {
		return index, nil
	}
	return 0, fmt.Errorf("identity: another xdsserver is the replica %q, too: end it, or give each a name of its own", c.config.Replica)
}

// acknowledges returns the generation that this replica is ready for.
func (c *CA) acknowledges(v *view) uint64 {
	c.mu.Lock()
	generation := c.acknowledged
	c.mu.Unlock()
	if c.config.Acknowledged == nil {
		generation = v.state.Generation
	}
	if next := v.state.rootIn(Prepared); next != nil && v.state.of(next.Name, Prepared, c.config.Replica) == nil {
		generation = min(generation, next.Generation-1)
	}
	return generation
}

// others returns the replicas that live beside this one.
func (c *CA) others(now time.Time) []beat {
	c.mu.Lock()
	defer c.mu.Unlock()
	var live []beat
	for id, s := range c.replicas {
		if s.live(now) {
			s.beat.Replica = id
			live = append(live, s.beat)
		}
	}
	slices.SortFunc(live, func(a, b beat) int { return strings.Compare(a.Replica, b.Replica) })
	return live
}

// held returns the roots whose keys are here.
func (v *view) held() []string {
	var held []string
	for _, r := range v.state.Roots {
		if v.holds[r.Name] {
			held = append(held, r.Name)
		}
	}
	return held
}
