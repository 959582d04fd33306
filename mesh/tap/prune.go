package tap

import (
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

const (
	// maxDepth is how deep messages are shown.
	maxDepth = 32
	// maxPacked bounds a google.protobuf.Any that is unpacked, in bytes.
	maxPacked = 64 << 10
	// scalarSize is about what a number takes as JSON.
	scalarSize = 8
)

// A pruner copies what may be shown of a message, until there is enough.
type pruner struct {
	redaction *redaction
	left      int // bytes
	cut       bool
}

// spend takes n bytes, and reports whether there were as many.
func (p *pruner) spend(n int) bool {
	if p.left < n {
		p.left, p.cut = 0, true
		return false
	}
	p.left -= n
	return true
}

// message copies src into dst, which is empty and of the same type, in the order in
// which fields are written down.
func (p *pruner) message(dst, src protoreflect.Message, depth int) {
	if depth > maxDepth {
		p.cut = true
		return
	}
	if src.Descriptor().FullName() == "google.protobuf.Any" {
		p.packed(dst, src, depth)
		return
	}
	fields := src.Descriptor().Fields()
	for i := range fields.Len() {
		if fd := fields.Get(i); src.Has(fd) && !p.field(dst, src, fd, depth) {
			return
		}
	}
	if src.Descriptor().ExtensionRanges().Len() == 0 {
		return
	}
	src.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		return !fd.IsExtension() || p.field(dst, src, fd, depth)
	})
}

// field copies one field, and reports whether there is room for more.
func (p *pruner) field(dst, src protoreflect.Message, fd protoreflect.FieldDescriptor, depth int) bool {
	if p.redaction.hides(fd) {
		return true
	}
	if !p.spend(len(fd.Name()) + 4) {
		return false
	}
	switch {
	case fd.IsMap():
		p.entries(dst.Mutable(fd).Map(), src.Get(fd).Map(), fd, depth)
	case fd.IsList():
		p.list(dst.Mutable(fd).List(), src.Get(fd).List(), fd, depth)
	case fd.Message() != nil:
		if p.redaction.full[string(fd.Message().FullName())] {
			return true
		}
		p.message(dst.Mutable(fd).Message(), src.Get(fd).Message(), depth+1)
	default:
		if v, ok := p.scalar(fd, src.Get(fd)); ok {
			dst.Set(fd, v)
		}
	}
	return p.left > 0
}

func (p *pruner) list(dst, src protoreflect.List, fd protoreflect.FieldDescriptor, depth int) {
	for i := range src.Len() {
		if !p.spend(2) {
			return
		}
		if fd.Message() != nil {
			p.message(dst.AppendMutable().Message(), src.Get(i).Message(), depth+1)
			continue
		}
		if v, ok := p.scalar(fd, src.Get(i)); ok {
			dst.Append(v)
		}
	}
}

func (p *pruner) entries(dst, src protoreflect.Map, fd protoreflect.FieldDescriptor, depth int) {
	// In no order: to sort the keys of a large map costs more than to show it.
	src.Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
		if p.redaction.hidesKey(key) {
			return true
		}
		if text, ok := key.Interface().(string); ok && !utf8.ValidString(text) {
			p.cut = true
			return true
		}
		if !p.spend(len(key.String()) + 6) {
			return false
		}
		if fd.MapValue().Message() != nil {
			v := dst.NewValue()
			p.message(v.Message(), value.Message(), depth+1)
			dst.Set(key, v)
		} else if v, ok := p.scalar(fd.MapValue(), value); ok {
			dst.Set(key, v)
		}
		return p.left > 0
	})
}

// scalar copies a value that is no message, cut where there is too little room; false
// where it is hidden or there is no room at all.
func (p *pruner) scalar(fd protoreflect.FieldDescriptor, v protoreflect.Value) (protoreflect.Value, bool) {
	switch fd.Kind() {
	case protoreflect.StringKind:
		s := v.String()
		n := min(len(s), p.left)
		p.cut = p.cut || n < len(s)
		p.left -= n
		// A copy: the message is the application's.
		return protoreflect.ValueOfString(strings.Clone(strings.ToValidUTF8(s[:n], "\uFFFD"))), true
	case protoreflect.BytesKind:
		b := v.Bytes()
		n := min(len(b), p.left*3/4) // as base64
		p.cut = p.cut || n < len(b)
		p.left -= min(p.left, n*4/3+2)
		return protoreflect.ValueOfBytes(append([]byte(nil), b[:n]...)), true
	case protoreflect.EnumKind:
		return v, !hidesEnum(fd, v.Enum()) && p.spend(scalarSize)
	default:
		return v, p.spend(scalarSize)
	}
}

// packed copies a google.protobuf.Any, whose secrets are those of what is in it. What
// it is of a type that this program does not have is not shown.
func (p *pruner) packed(dst, src protoreflect.Message, depth int) {
	fields := src.Descriptor().Fields()
	url, value := fields.ByNumber(1), fields.ByNumber(2)
	name := src.Get(url).String()
	b := src.Get(value).Bytes()
	kind, err := protoregistry.GlobalTypes.FindMessageByURL(name)
	if err != nil || len(b) > maxPacked || p.redaction.full[string(kind.Descriptor().FullName())] || !p.spend(len(name)+10) {
		p.cut = p.cut || name != ""
		return
	}
	inside, shown := kind.New(), kind.New()
	if (proto.UnmarshalOptions{AllowPartial: true, DiscardUnknown: true}).Unmarshal(b, inside.Interface()) != nil {
		p.cut = true
		return
	}
	p.message(shown, inside, depth+1)
	packed, err := proto.MarshalOptions{AllowPartial: true}.Marshal(shown.Interface())
	if err != nil {
		p.cut = true
		return
	}
	dst.Set(url, protoreflect.ValueOfString(name))
	dst.Set(value, protoreflect.ValueOfBytes(packed))
}
