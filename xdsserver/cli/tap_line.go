package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
)

// tapLine is an event for people: one line of key=value, as linkerd's tap has it.
func tapLine(e *tapv1.Event, wide bool) string {
	var b strings.Builder
	put := func(key, value string) {
		if value == "" {
			return
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(key + "=" + quoted(value))
	}
	put("at", e.GetStart().AsTime().UTC().Format("15:04:05.000"))
	put("side", e.GetSide())
	put("id", tapID(e))
	put("src", e.GetSource())
	put("dst", e.GetDestination())
	put("method", e.GetMethod())
	put("status", e.GetStatus())
	put("took", took(e.GetDuration()))
	put("tls", e.GetSecurity())
	put("endpoint", e.GetEndpoint())
	if e.GetAttempt() > 0 {
		put("attempt", strconv.FormatUint(uint64(e.GetAttempt()), 10))
	}
	put("reason", e.GetReason())
	put("message", e.GetMessage())
	if wide {
		put("route", e.GetRoute())
		put("cluster", e.GetCluster())
		put("why", e.GetWhy())
		put("peer", e.GetPeer())
		put("deadline", took(e.GetDeadline()))
		if e.GetStream() {
			put("stream", "true")
		}
		put("sent", strconv.FormatUint(uint64(e.GetMessagesSent()), 10))
		put("received", strconv.FormatUint(uint64(e.GetMessagesReceived()), 10))
		for _, m := range e.GetRequestMetadata() {
			put(":"+printable(m.GetKey()), m.GetValue())
		}
		for _, m := range e.GetResponseMetadata() {
			put("rsp:"+printable(m.GetKey()), m.GetValue())
		}
	}
	for _, m := range e.GetMessages() {
		tapMessage(&b, m)
	}
	return b.String()
}

// tapMessage adds a message, which is JSON and ends by itself.
func tapMessage(b *strings.Builder, m *tapv1.Message) {
	key := " response="
	if m.GetRequest() {
		key = " request="
	}
	b.WriteString(key)
	if m.GetJson() == "" {
		b.WriteString(quoted(fmt.Sprintf("%s, %d bytes, not shown", m.GetType(), m.GetSize())))
		return
	}
	b.WriteString(printable(m.GetJson()))
	if m.GetCut() {
		b.WriteString(" cut=true")
	}
}

// tapID joins the attempts of a call: it is unique among the processes of a service.
func tapID(e *tapv1.Event) string {
	instance := e.GetReporterInstance()
	if instance == "" {
		instance = "-"
	}
	return instance + ":" + strconv.FormatUint(e.GetCall(), 10)
}

// quoted is a value that ends at the next space, or in quotes.
func quoted(s string) string {
	s = printable(s)
	if strings.ContainsAny(s, " \"=") {
		return strconv.Quote(s)
	}
	return s
}

// took is a duration of three digits; empty where it is not known.
func took(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	v := d.AsDuration()
	for _, unit := range []struct {
		above time.Duration
		name  string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}} {
		if v >= unit.above {
			n := float64(v) / float64(unit.above)
			digits := 2
			for limit := 10.0; n >= limit && digits > 0; limit *= 10 {
				digits--
			}
			return strconv.FormatFloat(n, 'f', digits, 64) + unit.name
		}
	}
	return strconv.FormatInt(v.Microseconds(), 10) + "µs"
}

type tapEventJSON struct {
	At               time.Time        `json:"at"`
	Side             string           `json:"side"`
	ID               string           `json:"id"`
	Attempt          uint32           `json:"attempt"`
	Instance         string           `json:"instance,omitempty"`
	Source           string           `json:"source"`
	Destination      string           `json:"destination"`
	Method           string           `json:"method"`
	Status           string           `json:"status"`
	Message          string           `json:"message,omitempty"`
	Reason           string           `json:"reason,omitempty"`
	TookMs           float64          `json:"tookMs"`
	DeadlineMs       *float64         `json:"deadlineMs,omitempty"`
	Endpoint         string           `json:"endpoint,omitempty"`
	Why              string           `json:"why,omitempty"`
	Route            string           `json:"route,omitempty"`
	Cluster          string           `json:"cluster,omitempty"`
	Peer             string           `json:"peer,omitempty"`
	Security         string           `json:"security,omitempty"`
	Stream           bool             `json:"stream"`
	MessagesSent     uint32           `json:"messagesSent"`
	MessagesReceived uint32           `json:"messagesReceived"`
	RequestMetadata  []tapPairJSON    `json:"requestMetadata"`
	ResponseMetadata []tapPairJSON    `json:"responseMetadata"`
	Messages         []tapMessageJSON `json:"messages,omitempty"`
}

type tapPairJSON struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type tapMessageJSON struct {
	Request bool   `json:"request"`
	Type    string `json:"type"`
	Size    uint32 `json:"size"`
	Cut     bool   `json:"cut"`
	// Message is missing where it is not shown.
	Message json.RawMessage `json:"message,omitempty"`
}

// tapJSON writes an event for programs, as one line.
func tapJSON(w io.Writer, e *tapv1.Event) error {
	out := tapEventJSON{
		At: e.GetStart().AsTime(), Side: e.GetSide(), ID: tapID(e), Attempt: e.GetAttempt(), Instance: e.GetReporterInstance(),
		Source: e.GetSource(), Destination: e.GetDestination(), Method: e.GetMethod(), Status: e.GetStatus(), Message: e.GetMessage(),
		Reason: e.GetReason(), TookMs: millis(e.GetDuration()), Endpoint: e.GetEndpoint(), Why: e.GetWhy(), Route: e.GetRoute(),
		Cluster: e.GetCluster(), Peer: e.GetPeer(), Security: e.GetSecurity(), Stream: e.GetStream(),
		MessagesSent: e.GetMessagesSent(), MessagesReceived: e.GetMessagesReceived(),
		RequestMetadata: tapPairs(e.GetRequestMetadata()), ResponseMetadata: tapPairs(e.GetResponseMetadata()),
	}
	if e.GetDeadline() != nil {
		out.DeadlineMs = new(millis(e.GetDeadline()))
	}
	for _, m := range e.GetMessages() {
		next := tapMessageJSON{Request: m.GetRequest(), Type: m.GetType(), Size: m.GetSize(), Cut: m.GetCut()}
		if json.Valid([]byte(m.GetJson())) {
			next.Message = json.RawMessage(m.GetJson())
		}
		out.Messages = append(out.Messages, next)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(out)
}

func tapPairs(in []*tapv1.Metadata) []tapPairJSON {
	out := make([]tapPairJSON, 0, len(in))
	for _, m := range in {
		out = append(out, tapPairJSON{m.GetKey(), m.GetValue()})
	}
	return out
}

func millis(d *durationpb.Duration) float64 { return float64(d.AsDuration().Microseconds()) / 1000 }
