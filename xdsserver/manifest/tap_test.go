package manifest

import (
	"slices"
	"strings"
	"testing"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func TestTheMeshSaysWhatTapsLeaveOut(t *testing.T) {
	objects, problems := Parse("f", []byte(mesh("tap: {redact: [shop.v1.Card.number, iban]}")))
	if len(problems) > 0 || len(objects) != 1 {
		t.Fatalf("got %v, %v", objects, problems)
	}
	want := []string{"shop.v1.Card.number", "iban"}
	if got := objects[0].(*model.Mesh).TapRedact; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	text, err := Marshal(objects[0])
	if err != nil {
		t.Fatal(err)
	}
	again, problems := Parse("f", text)
	if len(problems) > 0 || !slices.Equal(again[0].(*model.Mesh).TapRedact, want) {
		t.Errorf("written as\n%s\n%v", text, problems)
	}
	if _, problems := Parse("f", []byte(mesh("tap: {}"))); len(problems) != 1 || !strings.Contains(problems[0].Message, "redact: [NAME]") {
		t.Errorf("a tap that says nothing: %v", problems)
	}
}
