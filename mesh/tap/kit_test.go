package tap

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	_ "google.golang.org/protobuf/types/known/anypb"
	_ "google.golang.org/protobuf/types/known/structpb"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func newTaps() *Taps {
	return New(Config{Service: "web", Instance: "one", Logger: slog.New(slog.DiscardHandler)})
}

// open opens taps for ten minutes, of 100 calls a second where they say nothing.
func open(t *Taps, taps ...resource.Tap) *Set {
	for i := range taps {
		if taps[i].ID == "" {
			taps[i].ID = "t"
		}
		if taps[i].MaxRPS == 0 {
			taps[i].MaxRPS = 100
		}
		if taps[i].Until.IsZero() {
			taps[i].Until = time.Now().Add(10 * time.Minute)
		}
	}
	t.Set(taps)
	return t.Active()
}

// events takes what waits to be reported.
func events(t *Taps) []*tapv1.Event {
	events, _ := t.queue.take()
	return events
}

// An xdsserver takes reports.
type xdsserver struct {
	mu      sync.Mutex
	reports []*tapv1.ReportRequest
	over    []string
	err     error
	hang    bool
}

var _ grpc.ClientConnInterface = (*xdsserver)(nil)

func (x *xdsserver) Invoke(ctx context.Context, _ string, args, reply any, _ ...grpc.CallOption) error {
	x.mu.Lock()
	hang, err := x.hang, x.err
	x.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.reports = append(x.reports, proto.CloneOf(args.(*tapv1.ReportRequest)))
	reply.(*tapv1.ReportResponse).Over = x.over
	return nil
}

func (*xdsserver) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("no streams")
}

func (x *xdsserver) set(f func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f()
}

// taken are all events that were reported, and the counts of those that were not.
func (x *xdsserver) taken() (events []*tapv1.Event, dropped uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range x.reports {
		events = append(events, r.GetEvents()...)
		for _, n := range r.GetDropped() {
			dropped += n
		}
	}
	x.reports = nil
	return events, dropped
}

// running runs taps until the test ends, or until it is stopped.
func running(t *testing.T, taps *Taps, x *xdsserver) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := taps.Run(ctx, x); err != nil {
			t.Error(err)
		}
	})
	stop = func() {
		cancel()
		wait.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// order is a message with secrets in all places: shop.v1.Order.
var order = func() protoreflect.MessageDescriptor {
	redact := &descriptorpb.FieldOptions{DebugRedact: new(true)}
	field := func(n int32, name string, kind descriptorpb.FieldDescriptorProto_Type, of string, o *descriptorpb.FieldOptions) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{
			Name: new(name), Number: new(n), Type: kind.Enum(), Options: o,
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
		if of != "" {
			f.TypeName = new(of)
		}
		return f
	}
	list := func(f *descriptorpb.FieldDescriptorProto) *descriptorpb.FieldDescriptorProto {
		f.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		return f
	}
	text, message, enum := descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, descriptorpb.FieldDescriptorProto_TYPE_ENUM
	file := &descriptorpb.FileDescriptorProto{
		Name: new("shop/v1/order.proto"), Package: new("shop.v1"), Syntax: new("proto3"),
		Dependency: []string{"google/protobuf/any.proto", "google/protobuf/struct.proto", "google/protobuf/timestamp.proto"},
		EnumType: []*descriptorpb.EnumDescriptorProto{{
			Name: new("Risk"),
			Value: []*descriptorpb.EnumValueDescriptorProto{
				{Name: new("RISK_LOW"), Number: new(int32(0))},
				{Name: new("RISK_MARKED"), Number: new(int32(1)), Options: &descriptorpb.EnumValueOptions{DebugRedact: new(true)}},
			},
		}},
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: new("Order"),
			Field: []*descriptorpb.FieldDescriptorProto{
				field(1, "id", text, "", nil),
				field(2, "pin", text, "", redact),
				field(3, "card", message, ".shop.v1.Card", nil),
				list(field(4, "cards", message, ".shop.v1.Card", nil)),
				list(field(5, "by_name", message, ".shop.v1.Order.ByNameEntry", nil)),
				field(6, "more", message, ".google.protobuf.Any", nil),
				field(7, "free", message, ".google.protobuf.Struct", nil),
				list(field(8, "labels", message, ".shop.v1.Order.LabelsEntry", nil)),
				field(9, "password", text, "", nil),
				field(10, "risk", enum, ".shop.v1.Risk", nil),
				list(field(11, "lines", text, "", nil)),
				field(12, "image", descriptorpb.FieldDescriptorProto_TYPE_BYTES, "", nil),
				field(13, "next", message, ".shop.v1.Order", nil),
				field(14, "at", message, ".google.protobuf.Timestamp", nil),
				field(15, "parcel", message, ".shop.v1.Parcel", nil),
			},
			NestedType: []*descriptorpb.DescriptorProto{
				{
					Name: new("ByNameEntry"), Options: &descriptorpb.MessageOptions{MapEntry: new(true)},
					Field: []*descriptorpb.FieldDescriptorProto{field(1, "key", text, "", nil), field(2, "value", message, ".shop.v1.Card", nil)},
				},
				{
					Name: new("LabelsEntry"), Options: &descriptorpb.MessageOptions{MapEntry: new(true)},
					Field: []*descriptorpb.FieldDescriptorProto{field(1, "key", text, "", nil), field(2, "value", text, "", nil)},
				},
			},
		}, {
			Name: new("Card"),
			Field: []*descriptorpb.FieldDescriptorProto{
				field(1, "number", text, "", nil), field(2, "holder", text, "", nil), field(3, "cvc", text, "", redact),
			},
		}, {
			Name:  new("Parcel"),
			Field: []*descriptorpb.FieldDescriptorProto{field(1, "street", text, "", nil)},
		}},
	}
	d, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		panic(err)
	}
	messages := d.Messages()
	for i := range messages.Len() {
		if err := protoregistry.GlobalTypes.RegisterMessage(dynamicpb.NewMessageType(messages.Get(i))); err != nil {
			panic(err)
		}
	}
	return messages.ByName("Order")
}()
