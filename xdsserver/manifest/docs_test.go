package manifest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// reference is the page that has every field.
const reference = "../../docs/configuration.md"

func TestDocumentationShowsOnlyWhatIsServed(t *testing.T) {
	for _, page := range pages(t) {
		for _, b := range blocks(t, page) {
			objects, problems := Parse(page, []byte(b))
			problems = append(problems, model.Validate(objects, population(), nil).Problems...)
			for _, p := range problems {
				t.Errorf("%s %s: %s", p.From, p.Field, p.Message)
			}
			if len(objects) == 0 {
				t.Errorf("%s: a block without an object:\n%s", page, strings.TrimSpace(b))
			}
		}
	}
	if n := len(blocks(t, reference)); n < 4 {
		t.Errorf("%s has %d blocks that are checked", reference, n)
	}
}

// population is who is registered in the mesh that the documentation speaks of: a
// block that names anybody else has a slip in it.
func population() []model.Endpoint {
	var all []model.Endpoint
	for _, e := range []struct{ service, version, address string }{
		{"greeter", "", "10.0.1.1:8080"},
		{"web", "", "10.0.1.2:8080"},
		{"voting", "v1", "10.0.1.3:8080"},
		{"voting", "v2", "10.0.1.4:8080"},
	} {
		all = append(all, model.Endpoint{
			Service:  model.ServiceName{Namespace: model.DefaultNamespace, Name: e.service},
			Instance: e.address, Version: e.version, Addresses: []string{e.address}, From: model.Registered,
		})
	}
	return all
}

// pages are those that show configuration.
func pages(t *testing.T) []string {
	t.Helper()
	found := []string{reference, "../../README.md"}
	err := filepath.WalkDir("../../examples", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Base(path) == "README.md" {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var (
	fenced = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
	// begins is how a block begins that is a whole document, not a part of one.
	begins = regexp.MustCompile(`^(#.*\n)*apiVersion:`)
)

// blocks returns the configuration on a page.
func blocks(t *testing.T, page string) []string {
	t.Helper()
	var found []string
	content := read(t, page)
	for _, m := range fenced.FindAllStringSubmatchIndex(content, -1) {
		yaml := content[m[2]:m[3]]
		if begins.MatchString(yaml) {
			// Problems tell the line of the page.
			above := strings.Repeat("\n", strings.Count(content[:m[2]], "\n"))
			found = append(found, above+yaml)
		} else if page == reference {
			t.Errorf("%s has a block that nobody checks, since it is no whole document:\n%s", page, yaml)
		}
	}
	return found
}

func TestReferenceHasEveryFieldAndNoOther(t *testing.T) {
	served, refused := map[string]bool{}, map[string]string{}
	for kind, s := range kinds {
		collect(kind+" ", s, served, refused)
	}
	documented, said, _ := tables(t)
	for path, leaf := range served {
		if leaf && !documented[path] {
			t.Errorf("%s has no row for %s", reference, path)
		}
	}
	for path := range documented {
		if _, ok := served[path]; !ok {
			t.Errorf("%s has a row for %s, which is not served", reference, path)
		}
	}
	if diff := cmp.Diff(refused, said); diff != "" {
		t.Errorf("what is not served yet, in %s (-want +got):\n%s", reference, diff)
	}
}

func TestReferenceHasEveryKindThatIsNotServed(t *testing.T) {
	if _, _, said := tables(t); !cmp.Equal(kindsRefused, said) {
		t.Errorf("kinds that are not served yet, in %s (-want +got):\n%s", reference, cmp.Diff(kindsRefused, said))
	}
}

// collect puts the paths of the fields that are served into served, true for
// those with no fields of their own, and why the others are not into refused.
func collect(prefix string, s shape, served map[string]bool, refused map[string]string) {
	for _, f := range s {
		path := prefix + f.name
		if f.refused != "" {
			refused[path] = f.refused
			continue
		}
		served[path] = f.of == nil
		switch f.form {
		case object:
			collect(path+".", f.of, served, refused)
		case list:
			collect(path+"[].", f.of, served, refused)
		case text, integer, decimal, boolean, duration, textList, anything:
		}
	}
}

var (
	heading = regexp.MustCompile("^#+ (?:(Service|GRPCRoute|AccessPolicy|Mesh): (`.+`)|(.*))$")
	quoted  = regexp.MustCompile("`([^`]+)`")
)

// tables reads the tables of the reference: the fields, and what is said of those
// and of the kinds that are not served.
func tables(t *testing.T) (fields map[string]bool, refused, kindsSaid map[string]string) {
	t.Helper()
	fields, refused, kindsSaid = map[string]bool{}, map[string]string{}, map[string]string{}
	var prefixes []string // of the paths in the tables below a heading
	yet := false          // it is the section of what is not served yet
	for line := range strings.Lines(read(t, reference)) {
		if m := heading.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			prefixes, yet = nil, m[3] == "What is not served yet"
			switch {
			case m[1] != "":
				for _, path := range quoted.FindAllStringSubmatch(m[2], -1) {
					prefixes = append(prefixes, m[1]+" "+path[1]+".")
				}
			case m[3] == "Every document":
				for kind := range kinds {
					prefixes = append(prefixes, kind+" ")
				}
			}
		}
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		kind, _, _ := strings.Cut(strings.TrimSpace(cells[1]), " ")
		for _, name := range quoted.FindAllStringSubmatch(cells[1], -1) {
			switch what := strings.TrimSpace(cells[2]); {
			case yet && kinds[kind] != nil:
				refused[kind+" "+name[1]] = what
			case yet:
				kindsSaid[name[1]] = what
			}
			for _, prefix := range prefixes {
				fields[prefix+name[1]] = true
			}
		}
	}
	return fields, refused, kindsSaid
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
