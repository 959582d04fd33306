package serve

import (
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxRejections bounds what is remembered, the oldest going first: no client
	// can fill the memory by refusing what it is sent.
	maxRejections = 1000
	// rejectionsKept is how long a rejection outlives its stream: a client that
	// crashes on a resource should still be seen to have refused it.
	rejectionsKept = 15 * time.Minute
)

// A Rejection is a NACK: a client refused a resource it was sent, and keeps what
// it had.
type Rejection struct {
	// Node is what the client calls itself, and ID who it is: its SPIFFE id, empty
	// where nobody identifies himself.
	Node, ID string
	// Type is a type URL. Name and Version are empty when the client refused a
	// response without saying what in it.
	Type, Name, Version string
	// Reason is the client's own words, at most 2 KiB.
	Reason string
	At     time.Time
}

// A refusal is a Rejection and what was rejected. Immutable.
type refusal struct {
	Rejection

	entry *entry // nil when the response named nothing
}

// rejections remembers who refuses what. One stands until the client accepts
// something else of the name, or until some time after its stream has ended.
type rejections struct {
	mu    sync.Mutex
	byKey map[rejectionKey]*rejection
}

type rejectionKey struct{ node, id, typeURL, name string }

type rejection struct {
	*refusal

	left time.Time // when the stream ended; zero while it is open
}

func (r *refusal) key() rejectionKey { return rejectionKey{r.Node, r.ID, r.Type, r.Name} }

// add remembers a refusal and reports whether it is news: not the same content
// refused by the same client once more.
func (rs *rejections) add(r *refusal) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.byKey == nil {
		rs.byKey = make(map[rejectionKey]*rejection)
	}
	old := rs.byKey[r.key()]
	if old == nil && len(rs.byKey) >= maxRejections {
		rs.evict(r.ID)
	}
	rs.byKey[r.key()] = &rejection{refusal: r}
	return old == nil || old.Version != r.Version
}

// evict makes room for a refusal of an identity: of its own the oldest goes, if it
// has any, so that nobody hides what others refuse. NACKs are rare, so that looking
// through all is good enough.
func (rs *rejections) evict(id string) {
	rs.expire()
	var oldest *rejection
	for _, r := range rs.byKey {
		if oldest == nil {
			oldest = r
			continue
		}
		own, had := r.ID == id, oldest.ID == id
		if own && !had || own == had && r.At.Before(oldest.At) {
			oldest = r
		}
	}
	if len(rs.byKey) >= maxRejections {
		delete(rs.byKey, oldest.key())
	}
}

// expire drops rejections of streams that ended long ago.
func (rs *rejections) expire() {
	for key, r := range rs.byKey {
		if !r.left.IsZero() && time.Since(r.left) > rejectionsKept {
			delete(rs.byKey, key)
		}
	}
}

// resolve forgets a refusal whose client has accepted something else, or what it
// refused is no longer asked of it.
func (rs *rejections) resolve(r *refusal) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if known := rs.byKey[r.key()]; known != nil && known.refusal == r {
		delete(rs.byKey, r.key())
	}
}

// leave notes that the stream of a refusal has ended, or no longer wants it.
func (rs *rejections) leave(r *refusal) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if known := rs.byKey[r.key()]; known != nil && known.refusal == r {
		known.left = time.Now()
	}
}

// list returns what stands, the newest first.
func (rs *rejections) list() []Rejection {
	rs.mu.Lock()
	rs.expire()
	list := make([]Rejection, 0, len(rs.byKey))
	for _, r := range rs.byKey {
		list = append(list, r.Rejection)
	}
	rs.mu.Unlock()
	slices.SortFunc(list, func(a, b Rejection) int {
		if c := b.At.Compare(a.At); c != 0 {
			return c
		}
		if c := strings.Compare(a.Node, b.Node); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list
}
