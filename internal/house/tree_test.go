package house

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
)

// module is the path of the module, as go.mod says it.
const module = "github.com/tulle-mesh/tulle"

// root is where the repository begins, seen from this package.
const root = "../.."

// A tree is the repository as text: every file that is not git's own, with Go
// files parsed. The rules read it and nothing else, so that a test can show
// each of them a tree made up for it.
type tree struct {
	fset  *token.FileSet
	files []*file
}

// A file is one file of a tree.
type file struct {
	// name is the path from the root, with slashes.
	name string
	src  []byte
	// ast is nil for files that are not Go, and for those the go command leaves out.
	ast       *ast.File
	generated bool
}

// dir is the folder the file is in, "." for the root.
func (f *file) dir() string { return path.Dir(f.name) }

func (f *file) isTest() bool { return strings.HasSuffix(f.name, "_test.go") }

// readTree reads every file below fsys. It leaves out what git does not hold:
// its own folder, what make puts into bin, and what npm installs.
func readTree(fsys fs.FS) (*tree, error) {
	t := &tree{fset: token.NewFileSet()}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" || d.Name() == "node_modules" || name == "bin" {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		f := &file{name: name, src: src}
		if path.Ext(name) == ".go" && !hidden(name) {
			f.ast, err = parser.ParseFile(t.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			f.generated = ast.IsGenerated(f.ast)
		}
		t.files = append(t.files, f)
		return nil
	})
	return t, err
}

// hidden reports whether the go command leaves the file out of ./... for its name.
func hidden(name string) bool {
	return slices.ContainsFunc(strings.Split(name, "/"), func(element string) bool {
		return element == "testdata" || strings.HasPrefix(element, ".") || strings.HasPrefix(element, "_")
	})
}

// goFiles returns the parsed Go files.
func (t *tree) goFiles() []*file {
	return slices.DeleteFunc(slices.Clone(t.files), func(f *file) bool { return f.ast == nil })
}

// packages returns the Go files by folder: a package and its tests.
func (t *tree) packages() map[string][]*file {
	packages := map[string][]*file{}
	for _, f := range t.goFiles() {
		packages[f.dir()] = append(packages[f.dir()], f)
	}
	return packages
}

// at says where a node stands: "dir/file.go:12".
func (t *tree) at(n ast.Node) string {
	p := t.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// An importSpec is one import of one file.
type importSpec struct {
	// path is the import path, and name what the file calls it; name is the
	// last element of path unless the file chose another.
	path, name string
	node       *ast.ImportSpec
}

func (f *file) imports() []importSpec {
	var specs []importSpec
	for _, n := range f.ast.Imports {
		p, err := strconv.Unquote(n.Path.Value)
		if err != nil {
			continue // the parser has accepted it as a string
		}
		s := importSpec{path: p, name: path.Base(p), node: n}
		if n.Name != nil {
			s.name = n.Name.Name
		}
		specs = append(specs, s)
	}
	return specs
}

// isCallOf reports whether n calls function of the package imported as importPath.
func (f *file) isCallOf(n ast.Node, importPath, function string) bool {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != function {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && slices.ContainsFunc(f.imports(), func(s importSpec) bool {
		return s.path == importPath && s.name == x.Name
	})
}

// under reports whether the slash path p is folder or lies below it.
func under(p, folder string) bool {
	return p == folder || strings.HasPrefix(p, folder+"/")
}

var readRepository = sync.OnceValues(func() (*tree, error) { return readTree(os.DirFS(root)) })

// repository returns this repository, read once for all tests.
func repository(t *testing.T) *tree {
	t.Helper()
	tr, err := readRepository()
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// report fails the test for each place that breaks its rule.
func report(t *testing.T, broken []string) {
	t.Helper()
	slices.Sort(broken)
	for _, b := range broken {
		t.Error(b)
	}
}

// A bite is a small tree, and what a rule must say of it.
type bite struct {
	name  string
	files map[string]string
	// want holds a part of each message in order; empty where the rule must be silent.
	want []string
}

// bites runs a rule on each tree.
func bites(t *testing.T, rule func(*tree) []string, table []bite) {
	t.Helper()
	for _, b := range table {
		t.Run(b.name, func(t *testing.T) {
			fsys := fstest.MapFS{}
			for name, src := range b.files {
				fsys[name] = &fstest.MapFile{Data: []byte(src)}
			}
			tr, err := readTree(fsys)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, rule(tr), b.want)
		})
	}
}

// compare checks that got holds one message with each part, and no other.
func compare(t *testing.T, got, want []string) {
	t.Helper()
	slices.Sort(got)
	matches := slices.EqualFunc(got, want, strings.Contains)
	if !matches {
		t.Errorf("the rule says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// lines counts as an editor does: a last line without a newline counts.
func lines(src []byte) int {
	n := bytes.Count(src, []byte("\n"))
	if len(src) > 0 && !bytes.HasSuffix(src, []byte("\n")) {
		n++
	}
	return n
}
