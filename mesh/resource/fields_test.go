package resource

import (
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

func TestAcceptedFieldsExist(t *testing.T) {
	for message, names := range fields {
		if descriptor(t, message) == nil {
			continue
		}
		for _, name := range names {
			descriptor(t, message.Append(name))
		}
	}
}

func TestFieldsWithAReasonExistAndAreNotAccepted(t *testing.T) {
	for field := range reasons {
		descriptor(t, field)
		accepted, ok := fields[field.Parent()]
		if !ok {
			t.Errorf("%s is of a message that is never checked", field)
		}
		for _, name := range accepted {
			if name == field.Name() {
				t.Errorf("%s is accepted", field)
			}
		}
	}
}
