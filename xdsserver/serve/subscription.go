package serve

import (
	"bytes"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A subscription is what one stream wants of one kind, and what it has of it.
type subscription struct {
	// names in order; with wild, also those that were not asked for by name.
	names []subscribed
	// hash of the last list of names, state of the world only.
	hash uint64
	// asked says that a first request came. wild says that everything is wanted;
	// named, that a name or "*" was ever asked for, after which an empty list no
	// longer means everything.
	asked, wild, named bool

	// inflight says that the last response is not answered yet: it carries what was
	// new since the revision from, in so many bytes. Its nonce, zero before the first,
	// has its number on the stream in the upper half, a secret in the lower.
	inflight bool
	nonce    uint64
	from     uint64
	bytes    int
}

// A subscribed is one name in a subscription. There are forty and more of these
// in an ordinary stream, so they are kept small.
type subscribed struct {
	topic *topic
	// sent is what the client has been sent and not refused; nil when that is
	// nothing, or that the name is gone.
	sent *entry
	// acked is what the client has accepted last on this stream.
	acked *entry
	// nack is the last refusal. Its version is not sent again.
	nack *refusal
	// at is when the client's word on the name last came, or when it was last
	// sent something, in nanoseconds since 1970.
	at int64
	// response is the number of the one that spoke of the name last.
	response uint32
	// told says that the name was answered: sent is what the client knows.
	told bool
	// held says that the client came back with the resource from an earlier
	// stream.
	held bool
	// explicit says that it was asked for by name.
	explicit bool
}

// anything is the name that stands for all names of a kind.
const anything = "*"

// maxName is the longest name, in bytes. Ours are DNS labels and a version.
const maxName = 512

// find returns the place of a name in the subscription, and whether it is there.
func (sn *subscription) find(name []byte) (int, bool) {
	return slices.BinarySearchFunc(sn.names, name, func(s subscribed, name []byte) int {
		return strings.Compare(s.topic.name, string(name)) // does not allocate
	})
}

// names reads the names in a field of a request, in order and without
// repetition, and whether "*" was among them.
func (st *stream) names(req *request, l *layout, removal bool, k kind) (names [][]byte, all bool, err error) {
	field := l.names
	if removal {
		field = l.unsubscribe
	}
	limit := st.server.config.MaxNames
	err = req.each(field, func(name []byte) error {
		switch {
		case k.full() && string(name) == anything:
			all = true
		case st.foreign(name):
			return st.turnAway(k, name)
		case badName(name):
			return status.Errorf(codes.InvalidArgument,
				"ads: a %s name of %d bytes; names have 1 to %d, and are UTF-8", k, len(name), maxName)
		case len(names) >= limit:
			return tooMany(k, limit)
		default:
			names = append(names, name)
		}
		return nil
	})
	slices.SortFunc(names, bytes.Compare)
	return slices.CompactFunc(names, bytes.Equal), all, err
}

// badName reports whether a name is none. What is not UTF-8 could not even be
// sent back.
func badName(name []byte) bool {
	return len(name) == 0 || len(name) > maxName || !utf8.Valid(name)
}

func tooMany(k kind, limit int) error {
	return status.Errorf(codes.ResourceExhausted,
		"ads: more than %d %s names on one stream; subscribe to fewer, or to some on another stream", limit, k)
}

// replace makes names the subscription, as state of the world has it. It reports
// whether a name was added. Server.mu must be held for writing.
func (st *stream) replace(k kind, names [][]byte, held bool) (added bool) {
	sn := &st.subs[k]
	t := &st.server.tables[k]
	next := make([]subscribed, 0, len(names))
	i := 0
	pass := func(name []byte) { // over the old names before this one
		for i < len(sn.names) && (name == nil || sn.names[i].topic.name < string(name)) {
			next = sn.forget(t, st, i, next)
			i++
		}
	}
	for _, name := range names {
		pass(name)
		if i < len(sn.names) && sn.names[i].topic.name == string(name) {
			sub := sn.names[i]
			if !sub.explicit {
				t.join(name, st)
				sub.explicit = true
			}
			next = append(next, sub)
			i++
			continue
		}
		next = append(next, subscribed{topic: t.join(name, st), held: held, explicit: true})
		added = true
	}
	pass(nil)
	sn.names = next
	return added
}

// forget takes a name out of the subscription, or leaves it to the wildcard, and
// appends what is left of it to next.
func (sn *subscription) forget(t *table, st *stream, i int, next []subscribed) []subscribed {
	sub := sn.names[i]
	if sub.explicit {
		t.leave(sub.topic, st)
		sub.explicit = false
	}
	if sn.wild {
		return append(next, sub)
	}
	if sub.nack != nil {
		st.server.rejections.leave(sub.nack)
	}
	return next
}

// add adds names to the subscription, as delta has it, and asks again for those
// that are in it: the client says that it wants an answer. Server.mu must be held
// for writing.
func (st *stream) add(k kind, names [][]byte) error {
	sn := &st.subs[k]
	t := &st.server.tables[k]
	fresh := 0
	for _, name := range names {
		if i, ok := sn.find(name); !ok || !sn.names[i].explicit {
			fresh++
		}
	}
	if limit := st.server.config.MaxNames; fresh > limit-sn.explicit() {
		return tooMany(k, limit)
	}
	old := sn.names
	next := slices.Grow([]subscribed(nil), len(old)+fresh)
	for _, name := range names {
		for len(old) > 0 && old[0].topic.name < string(name) {
			next, old = append(next, old[0]), old[1:]
		}
		if len(old) == 0 || old[0].topic.name != string(name) {
			next = append(next, subscribed{topic: t.join(name, st), explicit: true})
			continue
		}
		sub := old[0]
		old = old[1:]
		if !sub.explicit {
			t.join(name, st)
		}
		if sub.nack != nil {
			st.server.rejections.leave(sub.nack)
		}
		sub.explicit, sub.told, sub.nack = true, false, nil
		next = append(next, sub)
	}
	next = append(next, old...)
	sn.names = next
	return nil
}

// subtract takes names out of the subscription, as delta has it, and reports
// whether one of them is to be answered: a name that the wildcard still covers
// is, since the client cannot know that. Server.mu must be held for writing.
func (st *stream) subtract(k kind, names [][]byte) (answer bool) {
	sn := &st.subs[k]
	t := &st.server.tables[k]
	next := make([]subscribed, 0, len(sn.names))
	for i := range sn.names {
		_, gone := slices.BinarySearchFunc(names, sn.names[i].topic.name, func(b []byte, name string) int {
			return strings.Compare(string(b), name)
		})
		if !gone || !sn.names[i].explicit {
			next = append(next, sn.names[i])
			continue
		}
		if sn.wild {
			sn.names[i].told = false
			answer = true
		}
		next = sn.forget(t, st, i, next)
	}
	sn.names = next
	return answer
}

// setWild makes the stream want everything of a kind, or no longer. Server.mu
// must be held for writing.
func (st *stream) setWild(k kind, wild bool) {
	sn := &st.subs[k]
	t := &st.server.tables[k]
	if sn.wild == wild {
		return
	}
	sn.wild = wild
	if wild {
		t.wild[st] = struct{}{}
		t.sort()
		return
	}
	delete(t.wild, st)
	sn.names = slices.DeleteFunc(sn.names, func(s subscribed) bool { return !s.explicit })
}

// widen adds to a wildcard subscription what has come into being. Server.mu must
// be held for reading.
func (st *stream) widen(k kind) {
	sn := &st.subs[k]
	if !sn.wild {
		return
	}
	have := sn.names
	next := make([]subscribed, 0, max(len(have), len(st.server.tables[k].sorted)))
	for _, tp := range st.server.tables[k].sorted {
		if !st.client.sees(st.server, tp.name) {
			continue
		}
		for len(have) > 0 && have[0].topic.name < tp.name {
			next, have = append(next, have[0]), have[1:]
		}
		if len(have) > 0 && have[0].topic.name == tp.name {
			sub := have[0]
			sub.topic = tp // a name that went and came back has a new topic
			next, have = append(next, sub), have[1:]
			continue
		}
		next = append(next, subscribed{topic: tp})
	}
	next = append(next, have...)
	sn.names = next
}

// narrow takes out of a wildcard subscription what has ceased to be and was told
// so.
func (sn *subscription) narrow() {
	if !sn.wild {
		return
	}
	sn.names = slices.DeleteFunc(sn.names, func(s subscribed) bool {
		return !s.explicit && s.told && s.sent == nil && s.topic.current == nil
	})
}

// explicit counts the names that were asked for.
func (sn *subscription) explicit() int {
	n := 0
	for i := range sn.names {
		if sn.names[i].explicit {
			n++
		}
	}
	return n
}

// stamp is now, as subscribed.at has it.
func stamp() int64 { return time.Now().UnixNano() }
