package house

import (
	"fmt"
	"go/ast"
	"testing"
)

const synctestPath = "testing/synctest"

// breaksNoSleep lists calls of time.Sleep in tests where the text does not show
// that time is virtual. It is shown in two ways: the call stands in a function
// literal inside a function that opens a bubble, by synctest.Test or by a helper
// of the package that calls it; or in a function that calls synctest.Wait, which
// panics outside a bubble.
func breaksNoSleep(t *tree) []string {
	var broken []string
	for _, files := range t.packages() {
		openers := bubbleOpeners(files)
		for _, f := range files {
			if !f.isTest() {
				continue
			}
			for _, d := range f.ast.Decls {
				virtual := false
				if fn, ok := d.(*ast.FuncDecl); ok {
					virtual = openers[fn.Name.Name] || opensBubble(f, fn, openers)
				}
				for _, call := range realSleeps(f, d, virtual) {
					broken = append(broken, fmt.Sprintf(
						"%s sleeps for real: it is slow when it passes and flaky when it is not; "+
							"run the test in synctest.Test, or wait for what must happen", t.at(call)))
				}
			}
		}
	}
	return broken
}

// bubbleOpeners names the functions of a package that call synctest.Test.
func bubbleOpeners(files []*file) map[string]bool {
	openers := map[string]bool{}
	for _, f := range files {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && opensBubble(f, fn, nil) {
				openers[fn.Name.Name] = true
			}
		}
	}
	return openers
}

// opensBubble reports whether fn calls synctest.Test, or one of openers.
func opensBubble(f *file, fn *ast.FuncDecl, openers map[string]bool) bool {
	opens := false
	ast.Inspect(fn, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			name, local := call.Fun.(*ast.Ident)
			opens = opens || f.isCallOf(n, synctestPath, "Test") || local && openers[name.Name]
		}
		return !opens
	})
	return opens
}

// realSleeps returns the calls of time.Sleep below n that no bubble is shown
// around. Function literals below n are in one when virtual says so.
func realSleeps(f *file, n ast.Node, virtual bool) []ast.Node {
	var calls []ast.Node
	waits := false
	ast.Inspect(n, func(m ast.Node) bool {
		if lit, ok := m.(*ast.FuncLit); ok && m != n {
			if !virtual {
				calls = append(calls, realSleeps(f, lit, false)...)
			}
			return false
		}
		waits = waits || f.isCallOf(m, synctestPath, "Wait")
		if f.isCallOf(m, "time", "Sleep") {
			calls = append(calls, m)
		}
		return true
	})
	if waits {
		return nil
	}
	return calls
}

func TestTestsSleepOnlyInVirtualTime(t *testing.T) {
	report(t, breaksNoSleep(repository(t)))
}

func TestTheRuleOfSleepBites(t *testing.T) {
	const head = "package a\n\nimport (\n\t\"testing\"\n\t\"testing/synctest\"\n\t\"time\"\n)\n\n"
	bites(t, breaksNoSleep, []bite{
		{
			name: "virtual time is free: in a bubble, in a bubble of a helper, beside synctest.Wait",
			files: map[string]string{
				"a_test.go": head + `func TestA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { time.Sleep(time.Hour) })
}

func bubble(t *testing.T, f func(*testing.T)) { synctest.Test(t, f) }

func TestB(t *testing.T) {
	steps := []func(){func() { time.Sleep(time.Hour) }}
	bubble(t, func(*testing.T) { steps[0]() })
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
`,
			},
		},
		{
			name: "real time is not, whatever the file calls the package",
			files: map[string]string{
				"a_test.go": "package a\n\nimport \"time\"\n\nfunc wait() { time.Sleep(1) }\n",
				"b_test.go": "package a\n\nimport clock \"time\"\n\nfunc wait2() { clock.Sleep(1) }\n",
				"c_test.go": "package a\n\nvar time clock\n\nfunc wait3() { time.Sleep(1) }\n",
				"d.go":      "package a\n\nimport \"time\"\n\nfunc wait4() { time.Sleep(1) }\n",
			},
			want: []string{"a_test.go:5 sleeps for real", "b_test.go:5 sleeps for real"},
		},
		{
			name: "nor is the way to the bubble, or a literal that nobody runs in one",
			files: map[string]string{
				"a_test.go": head + `func TestA(t *testing.T) {
	time.Sleep(time.Second)
	synctest.Test(t, func(t *testing.T) {})
}

func TestB(t *testing.T) {
	t.Run("b", func(*testing.T) { time.Sleep(time.Second) })
}
`,
			},
			want: []string{"a_test.go:10 sleeps for real", "a_test.go:15 sleeps for real"},
		},
	})
}
