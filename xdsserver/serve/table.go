package serve

import (
	"slices"
	"strings"
)

// A topic is one name of one kind: what it holds and who wants to know. There is
// one for every name that is published or subscribed to. Guarded by Server.mu.
type topic struct {
	name string
	// current is nil while the name is unknown.
	current *entry
	// subscribers asked for the name itself. Of those, so many have ended and are not
	// taken out yet: a list is a third of the size of a map, and where all leave at once,
	// each must not look for itself in it.
	subscribers []*stream
	ended       int
}

// A table holds the topics of one kind. Guarded by Server.mu.
type table struct {
	topics map[string]*topic
	// wild are the streams that asked for everything.
	wild map[*stream]struct{}
	// sorted are the topics that hold something, by name, for those streams;
	// nil when it must be made anew.
	sorted []*topic
}

func newTable() table {
	return table{topics: make(map[string]*topic), wild: make(map[*stream]struct{})}
}

// join adds a subscriber, which must not be one yet, to a name and returns its topic. The name is copied
// only when it is new.
func (t *table) join(name []byte, st *stream) *topic {
	tp := t.topics[string(name)] // does not allocate
	if tp == nil {
		tp = &topic{name: string(name)}
		t.topics[tp.name] = tp
	}
	tp.subscribers = append(tp.subscribers, st)
	return tp
}

// leave takes a subscriber off a topic.
func (t *table) leave(tp *topic, st *stream) {
	if st.ended {
		tp.ended++
		tp.sweep()
	} else if i := slices.Index(tp.subscribers, st); i >= 0 {
		tp.subscribers = slices.Delete(tp.subscribers, i, i+1)
	}
	t.drop(tp)
}

// sweep takes out who has ended, once they are one in eight.
func (tp *topic) sweep() {
	const share = 8
	if tp.ended*share < len(tp.subscribers) {
		return
	}
	tp.subscribers = slices.DeleteFunc(tp.subscribers, func(st *stream) bool { return st.ended })
	tp.ended = 0
	if len(tp.subscribers) < cap(tp.subscribers)/2 {
		tp.subscribers = slices.Clone(tp.subscribers)
	}
}

// open yields the subscribers that have not ended.
func (tp *topic) open(yield func(*stream) bool) {
	for _, st := range tp.subscribers {
		if !st.ended && !yield(st) {
			return
		}
	}
}

// set gives a name new content, nil when it is gone, and returns its topic.
func (t *table) set(name string, e *entry) *topic {
	tp := t.topics[name]
	if tp == nil {
		tp = &topic{name: name}
		t.topics[name] = tp
	}
	if (tp.current == nil) != (e == nil) {
		t.sorted = nil
	}
	tp.current = e
	t.drop(tp)
	return tp
}

// drop forgets a topic that holds nothing and interests nobody.
func (t *table) drop(tp *topic) {
	if tp.current == nil && len(tp.subscribers) == tp.ended {
		delete(t.topics, tp.name)
	}
}

// sort makes sorted, if somebody asked for everything.
func (t *table) sort() {
	if t.sorted != nil || len(t.wild) == 0 {
		return
	}
	t.sorted = make([]*topic, 0, len(t.topics))
	for _, tp := range t.topics {
		if tp.current != nil {
			t.sorted = append(t.sorted, tp)
		}
	}
	slices.SortFunc(t.sorted, func(a, b *topic) int { return strings.Compare(a.name, b.name) })
}
