package serve

import (
	"strings"
	"unicode"
	"unicode/utf8"

	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
)

// maxReason bounds the reason of a refusal, in bytes. A client that rejects many
// resources names them all.
const maxReason = 2 << 10

// maxBlamed bounds the names of one refused response that the ledger takes: a
// hundred say as much as ten thousand.
const maxBlamed = 100

// settle takes in the answer to the last response of a kind and returns what was
// refused and is news. st.mu must be held.
func (st *stream) settle(k kind, req *request) []*refusal {
	sn := &st.subs[k]
	if !sn.inflight {
		return nil // answered before: the client repeats the nonce when its names change
	}
	sn.inflight, sn.from, sn.bytes = false, 0, 0
	if req.failure != nil {
		return st.refuse(k, req.failure)
	}
	number := uint32(sn.nonce >> 32)
	for i := range sn.names {
		if sub := &sn.names[i]; sub.response == number {
			st.accept(k, sub)
		}
	}
	return nil
}

// accept notes that the client has taken what it was sent of a name.
func (st *stream) accept(k kind, sub *subscribed) {
	if sub.acked == sub.sent {
		return
	}
	sub.acked = sub.sent
	sub.at = st.heard.UnixNano()
	if sub.nack != nil {
		st.server.rejections.resolve(sub.nack)
		if above&k.bit() != 0 {
			// What it led to before may go now.
			st.dirty.Or((clusters.bit() | endpoints.bit()) << fresh)
		}
	}
}

// refuse takes in a NACK. It is for the response as a whole, but a client that
// takes resources one by one (gRFC A46) keeps the good ones, and names the bad
// ones in the reason: those are refused then, and the others accepted. When no
// name is in it, everything new in the response is refused.
func (st *stream) refuse(k kind, failure []byte) (news []*refusal) {
	var detail statuspb.Status
	reason := "the client sent a reason that cannot be read"
	if proto.Unmarshal(failure, &detail) == nil {
		reason = shorten(detail.GetMessage())
	}
	if reason == "" {
		reason = "the client gave no reason"
	}

	sn := &st.subs[k]
	number := uint32(sn.nonce >> 32)
	named := false
	for i := range sn.names {
		if sub := &sn.names[i]; sub.response == number && mentions(reason, sub.topic.name) {
			named = true
			break
		}
	}
	base := Rejection{Node: st.node.id, ID: st.client.ID, Type: k.url(), Reason: reason, At: st.heard}
	blamed := 0
	for i := range sn.names {
		sub := &sn.names[i]
		if sub.response != number || sub.sent == nil {
			continue
		}
		if named && !mentions(reason, sub.topic.name) {
			st.accept(k, sub)
			continue
		}
		if !named && sub.sent == sub.acked {
			continue
		}
		r := &refusal{Rejection: base, entry: sub.sent}
		r.Name, r.Version = sub.topic.name, sub.sent.version
		if blamed++; blamed <= maxBlamed && st.server.rejections.add(r) {
			news = append(news, r)
		}
		sub.nack = r
		sub.at = st.heard.UnixNano()
		// The client keeps what it had. When that is from an earlier stream, we
		// do not know it, and it must still hear when the name is gone.
		sub.sent = sub.acked
		sub.told = sub.sent != nil || !sub.held
	}
	if r := (&refusal{Rejection: base}); !named && blamed == 0 && st.server.rejections.add(r) {
		news = append(news, r)
	}
	return news
}

// report makes known what was settled. No lock must be held.
func (st *stream) report(news []*refusal) {
	if len(news) > 0 {
		r := news[0]
		st.server.log.Warn("resources refused by a client", "node", r.Node, "type", r.Type,
			"name", r.Name, "version", r.Version, "reason", r.Reason, "refused", len(news))
	}
	st.server.waiters.wake()
}

// mentions reports whether a text names a resource: "voting" is in
// `resource "voting": no endpoints`, and not in `resource "voting.shop"`.
func mentions(text, name string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], name)
		if i < 0 {
			return false
		}
		start, end := from+i, from+i+len(name)
		before, _ := utf8.DecodeLastRuneInString(text[:start])
		if !inName(before) && !continues(text[end:]) {
			return true
		}
		from = start + 1
	}
}

// continues reports whether a text goes on as a name does. A dot does only when
// more of a name follows: it may end a sentence.
func continues(text string) bool {
	r, size := utf8.DecodeRuneInString(text)
	if r == '.' || r == ':' {
		r, _ = utf8.DecodeRuneInString(text[size:])
	}
	return inName(r)
}

func inName(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_/.", r))
}

// shorten bounds a reason, and makes it one that can be shown.
func shorten(reason string) string {
	reason = strings.ToValidUTF8(reason, "\uFFFD")
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "..."
	}
	return strings.TrimSpace(reason)
}
