package house

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// roomOf finds the room a package is in.
func roomOf(pkg string) *room {
	var best *room
	for i := range law {
		if r := &law[i]; under(pkg, r.path) && (best == nil || len(r.path) > len(best.path)) {
			best = r
		}
	}
	return best
}

// localPath returns the folder of an import of this module.
func localPath(importPath string) (string, bool) {
	return strings.CutPrefix(importPath, module+"/")
}

// breaksImportLaw lists imports between rooms that the law does not allow. Test
// files are free: an oracle or an end-to-end test stands on whatever it needs.
func breaksImportLaw(t *tree) []string {
	var broken []string
	for _, f := range t.goFiles() {
		if f.isTest() {
			continue
		}
		from := roomOf(f.dir())
		if from == nil {
			broken = append(broken, fmt.Sprintf(
				"%s: %s is in no room of the house: give it one in internal/house/law_test.go, with what it may import and why",
				f.name, f.dir()))
			continue
		}
		for _, spec := range f.imports() {
			local, ok := localPath(spec.path)
			if !ok || from.mayImport(local) {
				continue
			}
			broken = append(broken, fmt.Sprintf("%s imports %s, but %s may import %s: %s",
				t.at(spec.node), local, from.path, from.allowed(), from.why))
		}
	}
	return broken
}

// mayImport reports whether the law lets the room import a folder.
func (r *room) mayImport(folder string) bool {
	to := roomOf(folder)
	return to == r || to != nil && slices.Contains(r.imports, to.path)
}

// allowed says what the room may import, for a failure's text.
func (r *room) allowed() string {
	if len(r.imports) == 0 {
		return "no other room"
	}
	return "only " + strings.Join(r.imports, ", ")
}

func TestRoomsImportOnlyWhatTheLawAllows(t *testing.T) {
	report(t, breaksImportLaw(repository(t)))
}

func TestTheLawContradictsNeitherItselfNorTheArchitecture(t *testing.T) {
	library := func(p string) bool {
		return slices.ContainsFunc(append([]string{"mesh"}, machinery...), func(r string) bool { return under(p, r) })
	}
	for _, r := range law {
		if r.why == "" {
			t.Errorf("the law gives no reason for %s", r.path)
		}
		for _, to := range r.imports {
			target := roomOf(to)
			switch {
			case target == nil || target.path != to:
				t.Errorf("the law lets %s import %s, which is no room", r.path, to)
			case slices.Contains(target.imports, r.path):
				t.Errorf("the law lets %s and %s import each other", r.path, to)
			case under(to, "examples"):
				t.Errorf("the law lets %s import %s, but nothing imports an example", r.path, to)
			case under(to, "xdsserver") && library(r.path) && r.path != "mesh/meshtest":
				t.Errorf("the law lets %s of the library import %s of the server", r.path, to)
			case r.path == "xdsserver/cli" && to == "mesh/identity": // a command enrols as any process does
			case under(r.path, "xdsserver") && library(to) && !slices.Contains(shared, to):
				t.Errorf("the law lets the server's %s import %s: of the library it knows only %v", r.path, to, shared)
			}
		}
	}
}

func TestTheImportLawBites(t *testing.T) {
	bites(t, breaksImportLaw, []bite{
		{
			name:  "a row may import the rows below it, and a room itself",
			files: map[string]string{"resolver/a.go": goFile("resolver", "mesh/xdsclient", "mesh/resource", "resolver/assembly")},
		},
		{
			name:  "rooms of one row do not import each other",
			files: map[string]string{"balancer/a.go": goFile("balancer", "resolver")},
			want:  []string{"balancer/a.go:3 imports resolver, but balancer may import only mesh/xdsclient"},
		},
		{
			name:  "a row does not import the rows above it",
			files: map[string]string{"mesh/call/a.go": goFile("call", "mesh")},
			want:  []string{"mesh/call may import no other room: the values rooms meet in"},
		},
		{
			name:  "the library does not import the server",
			files: map[string]string{"mesh/a.go": goFile("mesh", "xdsserver/model")},
			want:  []string{"mesh/a.go:3 imports xdsserver/model"},
		},
		{
			name:  "the test kit imports the server's core, and not its disk",
			files: map[string]string{"mesh/meshtest/a.go": goFile("meshtest", "xdsserver/serve", "xdsserver/store")},
			want:  []string{"mesh/meshtest/a.go:4 imports xdsserver/store"},
		},
		{
			name:  "the server imports two rooms of the library",
			files: map[string]string{"xdsserver/serve/a.go": goFile("serve", "mesh/api/registry/v1", "mesh/xdsclient")},
			want:  []string{"xdsserver/serve/a.go:4 imports mesh/xdsclient"},
		},
		{
			name:  "streams do not know the sources",
			files: map[string]string{"xdsserver/serve/a.go": goFile("serve", "xdsserver/source/registry")},
			want:  []string{"streams know what is published, not where it came from"},
		},
		{
			name: "only the tour imports the server's command line",
			files: map[string]string{
				"examples/demo/a.go":  goFile("main", "xdsserver/cli"),
				"examples/hello/a.go": goFile("main", "xdsserver/cli"),
			},
			want: []string{"examples/hello/a.go:3 imports xdsserver/cli"},
		},
		{
			name:  "nothing imports an example",
			files: map[string]string{"mesh/a.go": goFile("mesh", "examples/hello")},
			want:  []string{"mesh/a.go:3 imports examples/hello"},
		},
		{
			name:  "tests import what they need",
			files: map[string]string{"mesh/call/a_test.go": goFile("call", "xdsserver/serve")},
		},
		{
			name:  "a package outside every room is asked to find one",
			files: map[string]string{"helpers/a.go": goFile("helpers")},
			want:  []string{"helpers is in no room of the house"},
		},
	})
}

// goFile writes a Go file that imports folders of this module.
func goFile(pkg string, imports ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "package %s\n\n", pkg)
	for _, i := range imports {
		fmt.Fprintf(&b, "import _ %q\n", module+"/"+i)
	}
	return b.String()
}
