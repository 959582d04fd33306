package resource_test

import (
	"math"
	"math/rand/v2"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// mutate changes a few things in m at random: fields are cleared, set to values
// at the edge, elements of lists doubled or taken out.
func mutate(r *rand.Rand, m proto.Message) {
	for range 1 + r.IntN(3) {
		var all []site
		collect(m.ProtoReflect(), &all)
		if len(all) == 0 {
			return
		}
		pick(r, all).mutate(r)
	}
}

// site is a field of a message that is set, or, seldom, one that is not.
type site struct {
	in    protoreflect.Message
	field protoreflect.FieldDescriptor
}

func collect(m protoreflect.Message, all *[]site) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		*all = append(*all, site{m, f})
		switch {
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					collect(v.Message(), all)
					return true
				})
			}
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				collect(v.List().Get(i).Message(), all)
			}
		default:
			collect(v.Message(), all)
		}
		return true
	})
}

func (s site) mutate(r *rand.Rand) {
	if chance(r, 6) { // set another field of the same message
		fields := s.in.Descriptor().Fields()
		s.field = fields.Get(r.IntN(fields.Len()))
	}
	f := s.field
	switch {
	case chance(r, 4) || f.IsMap():
		s.in.Clear(f)
	case f.IsList():
		list := s.in.Mutable(f).List()
		n := list.Len()
		switch {
		case n == 0:
			if f.Message() != nil {
				list.AppendMutable()
				return
			}
			list.Append(edge(r, f))
		case chance(r, 3):
			list.Truncate(n - 1)
		case f.Message() != nil && chance(r, 2):
			proto.Merge(list.AppendMutable().Message().Interface(), list.Get(r.IntN(n)).Message().Interface())
		case f.Message() != nil:
			return
		default:
			list.Append(edge(r, f))
		}
	case f.Message() != nil:
		s.in.Mutable(f) // sets it, empty, where it was not
	default:
		s.in.Set(f, edge(r, f))
	}
}

func edge(r *rand.Rand, f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(chance(r, 2))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(r.IntN(9)))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(pick(r, []string{
			"", "a", "*", "a*b", "*a*", "(", "a)(b", "xdstp://a/b", "10.0.0.1", "fixed", "subject",
			"type.googleapis.com/envoy.config.route.v3.FilterConfig",
			"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
		}))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(pick(r, []string{"", "\x0a", "\xff\xff", "a"})))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(pick(r, []int32{0, 1, -1, math.MaxInt32, math.MinInt32}))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(pick(r, []int64{0, 1, -1, math.MaxInt64, math.MinInt64}))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(pick(r, []uint32{0, 1, 2, 80, 101, math.MaxUint32}))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(pick(r, []uint64{0, 1, math.MaxUint64}))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(pick(r, []float32{0, -1, float32(math.NaN())}))
	default:
		return protoreflect.ValueOfFloat64(pick(r, []float64{0, -1, math.NaN()}))
	}
}

// damage changes bytes.
func damage(r *rand.Rand, value []byte) []byte {
	if len(value) == 0 {
		return value
	}
	if chance(r, 2) {
		return value[:r.IntN(len(value))]
	}
	value[r.IntN(len(value))] ^= byte(1 << r.IntN(8))
	return value
}
