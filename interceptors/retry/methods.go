package retry

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// maxMethods bounds the methods that are remembered: names may come from outside, as
// those that a proxy calls. Others are looked up each time.
const maxMethods = 4096

// Methods knows which methods may be called twice, by what their protobuf definitions
// say (idempotency_level). The zero value is ready. It is safe for concurrent use.
type Methods struct {
	known atomic.Pointer[map[string]bool] // the map is immutable

	mu sync.Mutex // guards changes of known
}

// Repeatable reports whether a method, "/package.Service/Method", has NO_SIDE_EFFECTS
// or is IDEMPOTENT. One whose generated code the process does not have is neither.
func (m *Methods) Repeatable(method string) bool {
	if known := m.known.Load(); known != nil {
		if repeatable, ok := (*known)[method]; ok {
			return repeatable
		}
	}
	repeatable := lookUp(method)
	m.mu.Lock()
	defer m.mu.Unlock()
	next := map[string]bool{}
	if known := m.known.Load(); known != nil {
		if len(*known) >= maxMethods {
			return repeatable
		}
		next = maps.Clone(*known)
	}
	next[method] = repeatable
	m.known.Store(&next)
	return repeatable
}

func lookUp(method string) bool {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."))
	if !name.IsValid() {
		return false
	}
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return false
	}
	descriptor, ok := found.(protoreflect.MethodDescriptor)
	if !ok {
		return false
	}
	options, ok := descriptor.Options().(*descriptorpb.MethodOptions)
	return ok && options.GetIdempotencyLevel() != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
}
