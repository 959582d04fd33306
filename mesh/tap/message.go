package tap

import (
	"bytes"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/reflect/protoreflect"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
)

const (
	// maxJSON bounds a message that is shown, in bytes.
	maxJSON = 16 << 10
	// maxType is of the name of a message that is none of protobuf's.
	maxType = 256
)

// show writes a message down, without what is hidden. It costs about what the part
// costs that is shown, however large the message is.
func (r *redaction) show(msg any) (m *tapv1.Message) {
	m = &tapv1.Message{}
	// Messages are the application's, and code of other generators is not ours.
	defer func() {
		if recover() != nil {
			m.Json, m.Cut = "", true
		}
	}()
	var known proto.Message
	switch msg := msg.(type) {
	case proto.Message:
		known = msg
	case protoadapt.MessageV1:
		known = protoadapt.MessageV2Of(msg)
	default:
		m.Type = clip(fmt.Sprintf("%T", msg), maxType)
		return m
	}
	source := known.ProtoReflect()
	m.Type = clip(string(source.Descriptor().FullName()), maxType)
	if !source.IsValid() {
		return m // a nil pointer
	}
	m.Size = uint32(min(int64(proto.Size(known)), 1<<32-1))
	if r.full[string(source.Descriptor().FullName())] {
		m.Cut = true
		return m
	}
	m.Json, m.Cut = r.json(source)
	return m
}

// json is a message as JSON of at most maxJSON bytes, and whether it is all that is not
// hidden. JSON is longer than what is copied where there is much to escape.
func (r *redaction) json(source protoreflect.Message) (text string, cut bool) {
	for left := maxJSON; left >= maxJSON/16; left /= 4 {
		p := pruner{redaction: r, left: left}
		copied := source.New()
		p.message(copied, source, 0)
		b, err := protojson.MarshalOptions{AllowPartial: true}.Marshal(copied.Interface())
		if err != nil {
			return "", true // a time that is none, or the like
		}
		if len(b) > maxJSON {
			continue
		}
		// protojson puts in spaces at random, so that nobody compares its text.
		var compact bytes.Buffer
		if json.Compact(&compact, b) != nil {
			return "", true
		}
		return compact.String(), p.cut
	}
	return "", true
}
