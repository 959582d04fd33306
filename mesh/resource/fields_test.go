package resource

import (
	"strings"
	"testing"

	_ "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

func descriptor(t *testing.T, name protoreflect.FullName) protoreflect.Descriptor {
	t.Helper()
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return d
}

func TestAcceptedFieldsOfCommandsExist(t *testing.T) {
	for message, names := range commands {
		if descriptor(t, message) == nil {
			continue
		}
		for _, name := range names {
			descriptor(t, message.Append(name))
		}
	}
}

func TestFieldsWithAReasonExist(t *testing.T) {
	for field := range reasons {
		descriptor(t, protoreflect.FullName(field))
		if !strings.HasPrefix(field, "envoy.") {
			t.Errorf("%s is the mesh's own", field)
		}
	}
}
