package serve

import (
	"slices"
	"time"
)

// A Holding is what a client has of one name, as far as is known here.
type Holding struct {
	// Type is a type URL.
	Type, Name string
	State      HoldingState
	// Version is what it has accepted last; empty when that is nothing, or unknown.
	Version string
	// Unknown says that it came back with a version of an earlier stream, which is
	// not known here, and goes on with that.
	Unknown bool
	// Any is that version, the encoded google.protobuf.Any that was sent: the
	// snapshot's own bytes, not to be changed. Nil where Version is empty.
	Any []byte
	// Current is the version that is published; empty for none.
	Current string
	// Refused and Reason are the version that it refuses, and its own words; empty
	// unless State is HoldingRefused.
	Refused, Reason string
	// At is when it last said something of the name, or when it was last sent
	// something; zero before either.
	At time.Time
}

// A HoldingState says how what a client has relates to what is published.
type HoldingState uint8

// The states of a [Holding].
const (
	// HoldingAsked is a name that was not answered yet.
	HoldingAsked HoldingState = iota
	// HoldingCurrent is the published version, accepted.
	HoldingCurrent
	// HoldingBehind is a client that has not acknowledged the published version.
	HoldingBehind
	// HoldingRefused is a client that refuses the published version. It keeps what
	// it had, Version.
	HoldingRefused
	// HoldingGone is a name of which the client was told that there is none.
	HoldingGone
)

// Held is an open stream and what its client has.
type Held struct {
	Stream

	holdings [kinds][]Holding // in order of name
}

// Holding returns what the client has of a name; false when it did not ask for it.
func (h *Held) Holding(typeURL, name string) (Holding, bool) {
	k, ok := kindOf([]byte(typeURL))
	if !ok {
		return Holding{}, false
	}
	i, ok := slices.BinarySearchFunc(h.holdings[k], name, func(h Holding, name string) int {
		switch {
		case h.Name < name:
			return -1
		case h.Name > name:
			return 1
		}
		return 0
	})
	if !ok {
		return Holding{}, false
	}
	return h.holdings[k][i], true
}

// Held returns the open streams that wanted takes, in the order of [Server.Ledger],
// with what their clients have. For people, not for hot paths.
func (s *Server) Held(wanted func(*Stream) bool) []*Held {
	var list []*Held
	for _, st := range s.opened() {
		if h := st.held(wanted); h != nil {
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(a, b *Held) int { return compareStreams(a.Stream, b.Stream) })
	return list
}

// held is nil for a stream that is not wanted, or has not said who it is.
func (st *stream) held(wanted func(*Stream) bool) *Held {
	st.server.mu.RLock()
	defer st.server.mu.RUnlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	info, ok := st.account()
	if !ok || !wanted(&info) {
		return nil
	}
	h := &Held{Stream: info}
	for k := range st.subs {
		for i := range st.subs[k].names {
			h.holdings[k] = append(h.holdings[k], st.subs[k].names[i].holding(kind(k)))
		}
	}
	return h
}

func (sub *subscribed) holding(k kind) Holding {
	h := Holding{Type: k.url(), Name: sub.topic.name, State: sub.state(), Unknown: sub.held && sub.acked == nil}
	if sub.at != 0 {
		h.At = time.Unix(0, sub.at)
	}
	if e := sub.acked; e != nil {
		h.Version, h.Any = e.version, e.raw
	}
	if e := sub.topic.current; e != nil {
		h.Current = e.version
	}
	if h.State == HoldingRefused {
		h.Refused, h.Reason, h.At = sub.nack.Version, sub.nack.Reason, sub.nack.At
	}
	return h
}

// has reports whether the client has accepted this content, and was sent no other
// since.
func (sub *subscribed) has(e *entry) bool {
	return sub.acked != nil && sub.acked.version == e.version && sub.sent != nil && sub.sent.version == e.version
}

func (sub *subscribed) state() HoldingState {
	current := sub.topic.current
	switch {
	case current != nil && sub.refused(current):
		return HoldingRefused
	case current != nil && sub.has(current):
		return HoldingCurrent
	case !sub.told:
		return HoldingAsked
	case sub.sent == nil:
		return HoldingGone
	default:
		return HoldingBehind
	}
}
