package house

import (
	"fmt"
	"go/ast"
	"slices"
	"testing"
)

// breaksOwnership lists go statements outside tests that do not say on their
// line, in a comment, who waits for the goroutine: `go read() // Close waits`.
// Most need no such statement: sync.WaitGroup.Go and errgroup say it themselves.
func breaksOwnership(t *tree) []string {
	var broken []string
	for _, f := range t.goFiles() {
		if f.isTest() || f.generated {
			continue
		}
		owned := map[int]bool{} // lines with a comment
		for _, group := range f.ast.Comments {
			for _, c := range group.List {
				owned[t.fset.Position(c.Pos()).Line] = true
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if _, ok := n.(*ast.GoStmt); ok && !owned[t.fset.Position(n.Pos()).Line] {
				broken = append(broken, fmt.Sprintf(
					"%s starts a goroutine that nobody is said to wait for: use sync.WaitGroup.Go or errgroup, "+
						"or say on that line who waits", t.at(n)))
			}
			return true
		})
	}
	return broken
}

func TestWhoStartsAGoroutineWaitsForIt(t *testing.T) {
	report(t, breaksOwnership(repository(t)))
}

func TestTheRuleOfOwnershipBites(t *testing.T) {
	bites(t, breaksOwnership, []bite{{
		name: "a bare go statement is named, a WaitGroup or a named owner is fine, tests are free",
		files: map[string]string{
			"a.go":      "package a\n\nfunc f() { go f() }\n",
			"b.go":      "package a\n\nimport \"sync\"\n\nfunc g() {\n\tvar wg sync.WaitGroup\n\twg.Go(g)\n\twg.Wait()\n}\n",
			"c.go":      "package a\n\nfunc h() {\n\tgo func() { // Close waits\n\t\th()\n\t}()\n}\n",
			"d_test.go": "package a\n\nfunc k() { go k() }\n",
		},
		want: []string{"a.go:3 starts a goroutine that nobody is said to wait for"},
	}})
}

// startsGoroutines reports whether the file starts one, by a go statement or by
// the Go method of a WaitGroup or errgroup.
func startsGoroutines(f *file) bool {
	found := false
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = true
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Go" && len(n.Args) == 1 {
				found = true
			}
		}
		return !found
	})
	return found
}

// looksForLeaks reports whether the file's TestMain asks goleak.
func looksForLeaks(f *file) bool {
	found := false
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == "TestMain" {
			ast.Inspect(fn, func(n ast.Node) bool {
				found = found || f.isCallOf(n, "go.uber.org/goleak", "VerifyTestMain")
				return !found
			})
		}
	}
	return found
}

// isTestKit reports whether the file is for the tests of others, which look for
// leaks where they run.
func isTestKit(f *file) bool {
	return slices.ContainsFunc(f.imports(), func(s importSpec) bool { return s.path == "testing" })
}

// breaksLeakTests lists packages that start goroutines and whose tests do not
// look for those that stay.
func breaksLeakTests(t *tree) []string {
	var broken []string
	for dir, files := range t.packages() {
		starts := slices.IndexFunc(files, func(f *file) bool {
			return !f.isTest() && !f.generated && !isTestKit(f) && startsGoroutines(f)
		})
		looks := slices.ContainsFunc(files, func(f *file) bool { return f.isTest() && looksForLeaks(f) })
		if starts >= 0 && !looks {
			broken = append(broken, fmt.Sprintf(
				"%s starts goroutines (%s), and no TestMain in it calls goleak.VerifyTestMain(m): "+
					"a goroutine that stays is a leak in every service",
				dir, files[starts].name))
		}
	}
	return broken
}

func TestEveryPackageThatStartsGoroutinesLooksForLeaks(t *testing.T) {
	report(t, breaksLeakTests(repository(t)))
}

func TestTheRuleOfLeaksBites(t *testing.T) {
	starts := "package a\n\nfunc f(g interface{ Go(func()) }) { g.Go(func() {}) }\n"
	main := "package a\n\nimport \"go.uber.org/goleak\"\n\nfunc TestMain(m M) { goleak.VerifyTestMain(m) }\n"
	bites(t, breaksLeakTests, []bite{
		{name: "a package that looks is fine", files: map[string]string{"p/a.go": starts, "p/a_test.go": main}},
		{name: "a package that starts none need not look", files: map[string]string{"p/a.go": "package a\n"}},
		{
			name:  "a test kit is looked at where it is used",
			files: map[string]string{"p/a.go": "package a\n\nimport \"testing\"\n\nfunc f(t *testing.T) { go f(t) }\n"},
		},
		{
			name:  "a package without tests does not look",
			files: map[string]string{"p/a.go": starts},
			want:  []string{"p starts goroutines (p/a.go)"},
		},
		{
			name:  "a TestMain that does not ask goleak does not look",
			files: map[string]string{"p/a.go": starts, "p/a_test.go": "package a\n\nfunc TestMain(m M) { m.Run() }\n"},
			want:  []string{"p starts goroutines (p/a.go)"},
		},
	})
}
