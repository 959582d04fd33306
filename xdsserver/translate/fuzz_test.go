package translate_test

import (
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/manifest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/translate"
)

// FuzzTranslate holds that whatever validation lets through, clients accept.
func FuzzTranslate(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "../manifest/testdata/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("no seeds: %v", err)
		}
		for _, name := range files {
			seed, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(seed)
		}
	}
	root := trust(f)
	f.Fuzz(func(t *testing.T, yaml []byte) {
		objects, _ := manifest.Parse("f", yaml)
		set := model.Validate(objects, nil, nil)
		set.Trust = root
		for _, r := range translate.Translate(set) {
			b, err := proto.Marshal(r.Message)
			if err != nil {
				t.Fatalf("%s %s: %v", r.TypeURL, r.Name, err)
			}
			if _, err := resource.Decode(r.TypeURL, b); err != nil {
				t.Errorf("%s %s: %v", r.TypeURL, r.Name, err)
			}
		}
	})
}
