package retry_test

import (
	"fmt"
	"sync"
	"testing"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	_ "google.golang.org/protobuf/types/known/emptypb" // messages of the methods below

	"github.com/tulle-mesh/tulle/interceptors/retry"
)

var register = sync.OnceValue(func() error {
	method := func(name string, level *descriptorpb.MethodOptions_IdempotencyLevel) *descriptorpb.MethodDescriptorProto {
		return &descriptorpb.MethodDescriptorProto{
			Name: new(name), InputType: new(".google.protobuf.Empty"), OutputType: new(".google.protobuf.Empty"),
			Options: &descriptorpb.MethodOptions{IdempotencyLevel: level},
		}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("tulle/retry_test.proto"), Package: new("retrytest.v1"),
		Dependency: []string{"google/protobuf/empty.proto"},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: new("Store"), Method: []*descriptorpb.MethodDescriptorProto{
			method("Get", descriptorpb.MethodOptions_NO_SIDE_EFFECTS.Enum()),
			method("Put", descriptorpb.MethodOptions_IDEMPOTENT.Enum()),
			method("Add", descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN.Enum()),
			method("Pop", nil),
		}}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		return err
	}
	return protoregistry.GlobalFiles.RegisterFile(file)
})

func TestRepeatableIsWhatTheDefinitionSays(t *testing.T) {
	if err := register(); err != nil {
		t.Fatal(err)
	}
	var methods retry.Methods
	for method, want := range map[string]bool{
		"/retrytest.v1.Store/Get":      true,
		"/retrytest.v1.Store/Put":      true,
		"/retrytest.v1.Store/Add":      false,
		"/retrytest.v1.Store/Pop":      false,
		"/retrytest.v1.Store/None":     false,
		"/retrytest.v1.Store":          false, // a service
		"/google.protobuf.Empty":       false, // a message
		"/grpc.health.v1.Health/Check": false, // it does not say
		"":                             false,
		"/":                            false,
		"//..//":                       false,
	} {
		t.Run(method, func(t *testing.T) {
			for _, when := range []string{"at first", "remembered"} {
				if got := methods.Repeatable(method); got != want {
					t.Errorf("%s: got %v, want %v", when, got, want)
				}
			}
		})
	}
}

func TestRepeatableIsRightForMoreMethodsThanAreRemembered(t *testing.T) {
	if err := register(); err != nil {
		t.Fatal(err)
	}
	var methods retry.Methods
	for i := range 5000 {
		methods.Repeatable(fmt.Sprint("/made.up/Method", i))
	}
	if !methods.Repeatable("/retrytest.v1.Store/Get") {
		t.Error("a method past the bound is not looked up")
	}
	if got := testing.AllocsPerRun(100, func() { methods.Repeatable("/made.up/Method7") }); got > 0 {
		t.Errorf("a remembered method costs %v allocations", got)
	}
}

func FuzzRepeatable(f *testing.F) {
	for _, seed := range []string{"", "/", "/retrytest.v1.Store/Get", "/a.b/c/d", "no slash", "/\x00.\xff/é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, method string) {
		var methods retry.Methods
		if methods.Repeatable(method) && method != "/retrytest.v1.Store/Get" && method != "/retrytest.v1.Store/Put" {
			t.Errorf("%q may be made twice", method)
		}
	})
}
