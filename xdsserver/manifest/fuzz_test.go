package manifest

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// FuzzParse holds that no input brings the parser down, that every problem says
// where and what, and that each object read is written and read again as it was.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range files {
		seed, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
		for _, d := range split(bytes.Clone(seed)) {
			f.Add(d.text)
		}
	}
	for _, tt := range slices.Concat(refused, refusedTraffic) {
		f.Add([]byte(tt.yaml))
	}
	for _, tt := range refusedAccess {
		f.Add([]byte(tt.yaml))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		before := string(in)
		objects, problems := Parse("f", in)
		if string(in) != before {
			t.Fatal("the input was changed")
		}
		for _, p := range problems {
			if p.Instead != nil && p.Warning {
				t.Errorf("a warning stands for an object: %+v", p)
			}
			if p.Message == "" || !strings.HasPrefix(p.From, "f") {
				t.Errorf("a problem does not say where or what: %+v", p)
			}
		}
		for _, o := range objects {
			roundTrip(t, o)
		}
	})
}

func roundTrip(t *testing.T, o model.Object) {
	t.Helper()
	text, err := Marshal(o)
	if err != nil {
		t.Fatalf("%v: %v", o.Ref(), err)
	}
	again, problems := Parse("f", text)
	if len(problems) > 0 || len(again) != 1 {
		t.Fatalf("what was written is not read: %+v\n%s", problems, text)
	}
	if diff := cmp.Diff(o, again[0], ignoreFrom); diff != "" {
		t.Fatalf("another object came back (-want +got):\n%s%s", diff, text)
	}
	if twice, _ := Marshal(again[0]); string(twice) != string(text) {
		t.Fatalf("the second writing differs (-first +second):\n%s", cmp.Diff(string(text), string(twice)))
	}
}

// ignoreFrom leaves out where objects were written.
var ignoreFrom = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".From" }, cmp.Ignore())
