package xdsv3_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	cswrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// A pair is a message here and as Envoy's own definitions have it.
type pair struct {
	ours   func() xdsv3.Message
	theirs proto.Message
}

var pairs = []pair{
	{func() xdsv3.Message { return new(xdsv3.Listener) }, (*listenerv3.Listener)(nil)},
	{func() xdsv3.Message { return new(xdsv3.HttpConnectionManager) }, (*hcmv3.HttpConnectionManager)(nil)},
	{func() xdsv3.Message { return new(xdsv3.RouteConfiguration) }, (*routev3.RouteConfiguration)(nil)},
	{func() xdsv3.Message { return new(xdsv3.RouteAction) }, (*routev3.RouteAction)(nil)},
	{func() xdsv3.Message { return new(xdsv3.RouteMatch) }, (*routev3.RouteMatch)(nil)},
	{func() xdsv3.Message { return new(xdsv3.HeaderMatcher) }, (*routev3.HeaderMatcher)(nil)},
	{func() xdsv3.Message { return new(xdsv3.Node) }, (*corev3.Node)(nil)},
	{func() xdsv3.Message { return new(xdsv3.OwnBalancing) }, (*policyv1.Balancing)(nil)},
	{func() xdsv3.Message { return new(xdsv3.OwnTraffic) }, (*policyv1.Traffic)(nil)},
	{func() xdsv3.Message { return new(xdsv3.OwnAdmission) }, (*policyv1.Admission)(nil)},
	{func() xdsv3.Message { return new(xdsv3.Cluster) }, (*clusterv3.Cluster)(nil)},
	{func() xdsv3.Message { return new(xdsv3.OutlierDetection) }, (*clusterv3.OutlierDetection)(nil)},
	{func() xdsv3.Message { return new(xdsv3.ClientSideWeightedRoundRobin) }, (*cswrrv3.ClientSideWeightedRoundRobin)(nil)},
	{func() xdsv3.Message { return new(xdsv3.ClusterLoadAssignment) }, (*endpointv3.ClusterLoadAssignment)(nil)},
	{func() xdsv3.Message { return new(xdsv3.HTTPFault) }, (*faultv3.HTTPFault)(nil)},
	{func() xdsv3.Message { return new(xdsv3.HttpRBAC) }, (*httprbacv3.RBAC)(nil)},
	{func() xdsv3.Message { return new(xdsv3.Permission) }, (*rbacv3.Permission)(nil)},
	{func() xdsv3.Message { return new(xdsv3.Principal) }, (*rbacv3.Principal)(nil)},
	{func() xdsv3.Message { return new(xdsv3.UpstreamTlsContext) }, (*tlsv3.UpstreamTlsContext)(nil)},
	{func() xdsv3.Message { return new(xdsv3.CommonTlsContext) }, (*tlsv3.CommonTlsContext)(nil)},
	{func() xdsv3.Message { return new(xdsv3.DeltaDiscoveryResponse) }, (*discoveryv3.DeltaDiscoveryResponse)(nil)},
	{func() xdsv3.Message { return new(xdsv3.DeltaDiscoveryRequest) }, (*discoveryv3.DeltaDiscoveryRequest)(nil)},
}

// What protobuf reads of any message, this package reads too, and the same.
func TestMessagesAreReadAsProtobufReadsThem(t *testing.T) {
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	for _, p := range pairs {
		t.Run(string(p.theirs.ProtoReflect().Descriptor().Name()), func(t *testing.T) {
			for seed := range rounds {
				r := rand.New(rand.NewPCG(uint64(seed), 1))
				m := p.theirs.ProtoReflect().New()
				fill(r, m, 4)
				b, err := proto.Marshal(m.Interface())
				if err != nil {
					t.Fatal(err)
				}
				if r.IntN(4) == 0 { // messages that are there twice are merged
					again := p.theirs.ProtoReflect().New()
					fill(r, again, 3)
					more, err := proto.Marshal(again.Interface())
					if err != nil {
						t.Fatal(err)
					}
					b = append(b, more...)
				}
				if diff := compare(p, b); diff != "" {
					t.Fatalf("seed %d: %s\n%v", seed, diff, m.Interface())
				}
			}
		})
	}
}

func FuzzUnmarshal(f *testing.F) {
	for i, p := range pairs {
		m := p.theirs.ProtoReflect().New()
		fill(rand.New(rand.NewPCG(uint64(i), 2)), m, 4)
		b, err := proto.Marshal(m.Interface())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(i, b)
	}
	f.Add(0, []byte("\x0a\x01\xff"))
	f.Fuzz(func(t *testing.T, i int, b []byte) {
		if i < 0 || i >= len(pairs) {
			return
		}
		if diff := compare(pairs[i], b); diff != "" {
			t.Error(diff)
		}
	})
}

// compare returns what is read otherwise here than by protobuf, empty for nothing.
func compare(p pair, b []byte) string {
	ours, theirs := p.ours(), p.theirs.ProtoReflect().New()
	err := ours.UnmarshalStrict(b)
	if proto.Unmarshal(b, theirs.Interface()) != nil {
		return "" // it may be in a field that nobody reads
	}
	if err != nil {
		if strings.Contains(err.Error(), "nested deeper") {
			return ""
		}
		return fmt.Sprintf("is refused: %v", err)
	}
	return differ(reflect.ValueOf(ours), theirs)
}

// differ compares what the getters say with what protobuf's reflection does.
func differ(ours reflect.Value, theirs protoreflect.Message) string {
	name := theirs.Descriptor().FullName()
	m, ok := reflect.TypeAssert[xdsv3.Message](ours)
	if !ok { // one of protobuf's own
		if !proto.Equal(ours.Interface().(proto.Message), theirs.Interface()) {
			return fmt.Sprintf("%s: got %v, want %v", name, ours.Interface(), theirs.Interface())
		}
		return ""
	}
	if m.FullName() != string(name) {
		return fmt.Sprintf("got a %s, want a %s", m.FullName(), name)
	}
	if got, want := m.HasUnknown(), len(theirs.GetUnknown()) > 0; got != want {
		return fmt.Sprintf("%s: unknown fields %v, want %v", name, got, want)
	}
	if got := m.Unaccepted(); got != "" {
		fd := theirs.Descriptor().Fields().ByName(protoreflect.Name(got))
		if fd == nil || !theirs.Has(fd) {
			return fmt.Sprintf("%s: %q is said to be set", name, got)
		}
	}
	for i := range ours.Type().NumMethod() {
		getter := ours.Type().Method(i)
		if !strings.HasPrefix(getter.Name, "Get") {
			continue
		}
		fd := fieldOf(theirs.Descriptor(), getter.Name)
		if fd == nil {
			continue // of a oneof
		}
		got := ours.Method(i).Call(nil)[0]
		if diff := differField(got, theirs, fd); diff != "" {
			return fmt.Sprintf("%s.%s: %s", name, fd.Name(), diff)
		}
	}
	return ""
}

func fieldOf(d protoreflect.MessageDescriptor, getter string) protoreflect.FieldDescriptor {
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if "get"+strings.ReplaceAll(string(f.Name()), "_", "") == strings.ReplaceAll(strings.ToLower(getter), "_", "") {
			return f
		}
	}
	return nil
}

func differField(got reflect.Value, theirs protoreflect.Message, fd protoreflect.FieldDescriptor) string {
	want := theirs.Get(fd)
	switch {
	case fd.IsMap():
		if got.Len() != want.Map().Len() {
			return fmt.Sprintf("%d entries, want %d", got.Len(), want.Map().Len())
		}
		for _, key := range got.MapKeys() {
			v := want.Map().Get(protoreflect.ValueOfString(key.String()).MapKey())
			if fd.MapValue().Message() == nil {
				if v.String() != got.MapIndex(key).String() {
					return fmt.Sprintf("%v, want %v", got.MapIndex(key), v)
				}
				continue
			}
			if diff := differ(got.MapIndex(key), v.Message()); diff != "" {
				return diff
			}
		}
	case fd.IsList():
		if got.Len() != want.List().Len() {
			return fmt.Sprintf("%d elements, want %d", got.Len(), want.List().Len())
		}
		for i := range got.Len() {
			if diff := differValue(got.Index(i), want.List().Get(i), fd); diff != "" {
				return diff
			}
		}
	case fd.HasOptionalKeyword() && fd.Message() == nil:
		if got.IsNil() != !theirs.Has(fd) {
			return fmt.Sprintf("is there: %v, want %v", !got.IsNil(), theirs.Has(fd))
		}
		if !got.IsNil() {
			return differValue(got.Elem(), want, fd)
		}
	case fd.Message() != nil && got.IsNil() != !theirs.Has(fd):
		return fmt.Sprintf("is there: %v, want %v", !got.IsNil(), theirs.Has(fd))
	case fd.Message() == nil || !got.IsNil():
		return differValue(got, want, fd)
	}
	return ""
}

func differValue(got reflect.Value, want protoreflect.Value, fd protoreflect.FieldDescriptor) string {
	if fd.Message() != nil {
		return differ(got, want.Message())
	}
	if fd.Kind() == protoreflect.EnumKind {
		if protoreflect.EnumNumber(got.Int()) != want.Enum() {
			return fmt.Sprintf("%v, want %d", got, want.Enum())
		}
		return ""
	}
	if fmt.Sprint(got.Interface()) != fmt.Sprint(want.Interface()) {
		return fmt.Sprintf("%v, want %v", got, want)
	}
	return ""
}

// fill sets fields at random, unknown ones among them.
func fill(r *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if r.IntN(3) != 0 || fd.Message() != nil && depth == 0 {
			continue
		}
		switch {
		case fd.IsMap():
			if fd.MapKey().Kind() != protoreflect.StringKind {
				continue
			}
			list := m.Mutable(fd).Map()
			for n := range r.IntN(3) {
				v := list.NewValue()
				if fd.MapValue().Message() != nil {
					fill(r, v.Message(), depth-1)
				} else {
					v = scalar(r, fd.MapValue())
				}
				list.Set(protoreflect.ValueOfString(fmt.Sprint(n)).MapKey(), v)
			}
		case fd.IsList():
			list := m.Mutable(fd).List()
			for range r.IntN(3) {
				if fd.Message() == nil {
					list.Append(scalar(r, fd))
					continue
				}
				v := list.NewElement()
				fill(r, v.Message(), depth-1)
				list.Append(v)
			}
		case fd.Message() != nil:
			fill(r, m.Mutable(fd).Message(), depth-1)
		default:
			m.Set(fd, scalar(r, fd))
		}
	}
	if r.IntN(20) == 0 && m.IsValid() {
		m.SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 9999, protowire.VarintType), 1))
	}
}

func scalar(r *rand.Rand, fd protoreflect.FieldDescriptor) protoreflect.Value {
	n := r.IntN(4) // zero is often a special case
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n > 1)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n - 1))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(int64(n - 1))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(n))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(n))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(make([]byte, n))
	default:
		return protoreflect.ValueOfString(strings.Repeat("x", n))
	}
}

// What is written here, protobuf reads as it was meant.
func TestWhatIsSentIsReadByOthers(t *testing.T) {
	request := &xdsv3.DeltaDiscoveryRequest{
		Node: &xdsv3.Node{
			Id: "web/1", Cluster: "web", Locality: &xdsv3.Locality{Zone: "a"}, UserAgentName: "tulle",
			UserAgentVersionType: &xdsv3.Node_UserAgentVersion{},
			Metadata:             &xdsv3.Struct{Fields: map[string]*xdsv3.Value{"version": {Kind: &xdsv3.Value_StringValue{}}, "none": nil}},
		},
		TypeUrl: "t", ResourceNamesSubscribe: []string{"a", ""}, ResourceNamesUnsubscribe: []string{"b"},
		InitialResourceVersions: map[string]string{"a": "1", "b": ""}, ResponseNonce: "n", ErrorDetail: &status.Status{Code: 3, Message: "m"},
	}
	b, err := request.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{
			Id: "web/1", Cluster: "web", Locality: &corev3.Locality{Zone: "a"}, UserAgentName: "tulle",
			UserAgentVersionType: &corev3.Node_UserAgentVersion{},
			Metadata:             &structpb.Struct{Fields: map[string]*structpb.Value{"version": structpb.NewStringValue(""), "none": {}}},
		},
		TypeUrl: "t", ResourceNamesSubscribe: []string{"a", ""}, ResourceNamesUnsubscribe: []string{"b"},
		InitialResourceVersions: map[string]string{"a": "1", "b": ""}, ResponseNonce: "n", ErrorDetail: &status.Status{Code: 3, Message: "m"},
	}
	got := new(discoveryv3.DeltaDiscoveryRequest)
	if err := proto.Unmarshal(b, got); err != nil || !proto.Equal(got, want) {
		t.Errorf("%v: got\n%v, want\n%v", err, got, want)
	}
	request.TypeUrl = "\xff"
	if _, err := request.Append(nil); err == nil {
		t.Error("what is no UTF-8 is sent")
	}
}
