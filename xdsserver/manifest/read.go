package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	yaml "github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// A reader reads one document, and collects what is wrong with it.
type reader struct {
	origin string
	// above is how many lines of the input come before the document.
	above int
	ref   model.Ref
	raw   *ast.MappingNode // the document; nil when it is none
	// places are where fields are written that the model names otherwise.
	places map[string]string
	// faults are bounded, and errors and warnings count them all.
	faults           []fault
	errors, warnings int
}

// A value is a place in a document that has the shape it should have.
type value struct {
	// path is where it is in the object, as in "spec.rules[0].name".
	path string
	pos  *token.Position

	text   string   // of texts, numbers and durations
	list   []*value // of lists
	fields map[string]*value
	// said are the fields of an object that are there, under a misspelt name or with a
	// wrong value, too.
	said map[string]bool
}

// parse reads one document. The object is nil when it has an error; with a
// warning it is there.
func parse(origin string, d document) (obj model.Object, problems []model.Problem) {
	r := &reader{origin: origin, above: d.line - 1, places: map[string]string{}}
	if f := r.read(d.text, &obj); f != nil {
		r.faults = append(r.faults, *f)
	}
	slices.SortStableFunc(r.faults, func(a, b fault) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	for _, f := range r.faults {
		problems = append(problems, model.Problem{
			Object: r.ref, From: fmt.Sprintf("%s:%d:%d", origin, r.above+f.line, f.column),
			Field: f.field, Message: f.message, Warning: f.warning,
		})
	}
	if bad := slices.IndexFunc(problems, func(p model.Problem) bool { return !p.Warning }); bad >= 0 {
		obj, problems[bad].Instead = nil, r.instead()
	}
	return obj, problems
}

func (r *reader) read(text []byte, obj *model.Object) (f *fault) {
	defer func() {
		// The parser is not ours, and has panicked on strange input before.
		if cause := recover(); cause != nil {
			f = &fault{line: 1, column: 1, message: fmt.Sprintf("is no YAML that can be read (%s): simplify the document", brief(cause))}
		}
	}()
	if len(text) > maxDocument {
		return &fault{line: 1, column: 1, message: fmt.Sprintf("the document is %d KiB, %d KiB is the most: split "+
			"it", len(text)>>10, maxDocument>>10)}
	}
	body, f := syntax(text)
	if f == nil {
		*obj = r.document(body)
	}
	return f
}

// brief is the first line of what the parser says.
func brief(cause any) string {
	return strings.SplitN(fmt.Sprint(cause), "\n", 2)[0]
}

// syntax turns text into a tree.
func syntax(text []byte) (ast.Node, *fault) {
	tokens := lexer.Tokenize(string(text))
	if len(tokens) > maxTokens {
		return nil, &fault{line: 1, column: 1, message: fmt.Sprintf("the document has more than %d words and signs: split it", maxTokens)}
	}
	if f := guard(tokens); f != nil {
		return nil, f
	}
	// Keys that are there twice are found by the reader, which names both places.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) && syntax.Token != nil {
			return nil, faultAt(syntax.Token, "is no YAML: %s", syntax.Message)
		}
		return nil, &fault{line: 1, column: 1, message: "is no YAML: " + brief(err)}
	}
	for _, d := range file.Docs {
		if d.Body != nil && len(file.Docs) == 1 {
			return d.Body, nil
		}
	}
	return nil, &fault{line: 1, column: 1, message: "is no mapping: write apiVersion, kind, metadata and spec"}
}

func (r *reader) errorf(path string, pos *token.Position, format string, args ...any) {
	if r.errors++; r.errors <= maxErrors {
		r.faults = append(r.faults, fault{
			line: pos.Line, column: pos.Column, field: path, message: fmt.Sprintf(format, args...),
		})
	}
}

func (r *reader) warnf(path string, pos *token.Position, format string, args ...any) {
	if r.warnings++; r.warnings <= maxWarnings {
		r.faults = append(r.faults, fault{
			line: pos.Line, column: pos.Column, field: path, message: fmt.Sprintf(format, args...), warning: true,
		})
	}
}

// object reads a mapping of the given shape. It reports every field that is
// wrong and returns the others.
func (r *reader) object(n ast.Node, path string, s shape) *value {
	v := &value{path: path, pos: position(n), fields: make(map[string]*value)}
	m, ok := n.(*ast.MappingNode)
	if !ok {
		r.wrongForm(n, path, object)
		return v
	}
	seen := make(map[string]*token.Position, len(m.Values))
	meant := make(map[string]bool) // fields that are there under a misspelt name
	for _, entry := range m.Values {
		key := entry.Key.GetToken()
		at := join(path, key.Value)
		if first, ok := seen[key.Value]; ok {
			r.errorf(at, key.Position, "is written twice, the first time in line %d: remove one of them", r.above+first.Line)
			continue
		}
		seen[key.Value] = key.Position
		f := s.field(key.Value)
		switch {
		case f == nil:
			meant[r.unknown(key, path, s)] = true
		case f.refused != "":
			if list, ok := entry.Value.(*ast.SequenceNode); !ok || len(list.Values) > 0 {
				r.errorf(at, key.Position, "%s is not served by this version: %s", f.name, f.refused)
			}
		default:
			if f.unused != "" {
				r.warnf(at, key.Position, "%s has no effect: %s", f.name, f.unused)
			}
			if fv := r.value(entry.Value, at, f); fv != nil {
				v.fields[f.name] = fv
			}
		}
	}
	v.said = meant
	for name := range seen {
		v.said[name] = true
	}
	for _, f := range s {
		if f.required != "" && !v.said[f.name] {
			r.errorf(join(path, f.name), v.pos, "is missing: write %s", f.required)
		}
	}
	return v
}

// unknown reports a field that is none, and returns the one that was meant, if
// that can be guessed.
func (r *reader) unknown(key *token.Token, path string, s shape) string {
	at := join(path, key.Value)
	all := make([]string, 0, len(s))
	for _, f := range s {
		all = append(all, f.name)
	}
	if near := model.Nearest(key.Value, all); near != "" {
		r.errorf(at, key.Position, "unknown field %.80q: did you mean %s?", key.Value, near)
		return near
	}
	r.errorf(at, key.Position, "unknown field %.80q: the fields here are %s", key.Value, strings.Join(s.names(), ", "))
	return ""
}

// value reads the value of a field; it is nil where the form is wrong.
func (r *reader) value(n ast.Node, path string, f *field) *value {
	switch f.form {
	case anything:
		return &value{path: path, pos: position(n)}
	case object:
		if _, ok := n.(*ast.MappingNode); !ok {
			r.wrongForm(n, path, object)
			return nil
		}
		return r.object(n, path, f.of)
	case list, textList:
		return r.listOf(n, path, f)
	case text, integer, decimal, boolean, duration:
	}
	return r.scalar(n, path, f)
}

func (r *reader) listOf(n ast.Node, path string, f *field) *value {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		r.wrongForm(n, path, f.form)
		return nil
	}
	v := &value{path: path, pos: position(n)}
	for i, entry := range s.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		if f.form == textList {
			if t := r.scalar(entry, at, &field{name: f.name}); t != nil {
				v.list = append(v.list, t)
			}
			continue
		}
		v.list = append(v.list, r.object(entry, at, f.of))
	}
	return v
}

func (r *reader) scalar(n ast.Node, path string, f *field) *value {
	v := &value{path: path, pos: position(n)}
	is := text
	switch n := n.(type) {
	case *ast.StringNode:
		v.text = n.Value
	case *ast.LiteralNode:
		v.text = n.Value.Value
	case *ast.IntegerNode:
		v.text, is = n.Token.Value, integer
	case *ast.FloatNode:
		v.text, is = n.Token.Value, decimal
	case *ast.BoolNode:
		v.text, is = strconv.FormatBool(n.Value), boolean
	default:
		is = anything
	}
	switch {
	case is == f.form, is == text && f.form == duration, is == integer && f.form == decimal:
	default:
		r.wrongForm(n, path, f.form)
		return nil
	}
	if f.bounded() && !r.within(v, f) {
		return nil
	}
	if f.enum != nil && !slices.Contains(f.enum, v.text) {
		if why, ok := f.instead[v.text]; ok {
			r.errorf(path, v.pos, "%s is not served by this version: %s", v.text, why)
			return nil
		}
		want := slices.DeleteFunc(slices.Clone(f.enum), func(s string) bool { return s == "" })
		r.errorf(path, v.pos, "%.80q is not allowed: write %s", v.text, strings.Join(want, " or "))
		return nil
	}
	return v
}

func (r *reader) wrongForm(n ast.Node, path string, want form) {
	var is string
	switch n := n.(type) {
	case *ast.NullNode:
		r.errorf(path, position(n), "has no value: give one, or remove the field")
		return
	case *ast.MappingNode, *ast.MappingValueNode:
		is = "a mapping"
	case *ast.SequenceNode:
		is = "a list"
	case *ast.BoolNode:
		is = "true or false"
	case *ast.FloatNode:
		is = "a fraction"
	case *ast.IntegerNode, *ast.InfinityNode, *ast.NanNode:
		is = "a number"
	default:
		is = "text"
	}
	try := ""
	if s, ok := n.(ast.ScalarNode); ok && want == text {
		try = fmt.Sprintf(": write %.80q", s.GetToken().Value)
	}
	r.errorf(path, position(n), "must be %s, not %s%s", want, is, try)
}

// position is where a node begins.
func position(n ast.Node) *token.Position {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	if n != nil {
		if tk := n.GetToken(); tk != nil && tk.Position != nil {
			return tk.Position
		}
	}
	return &token.Position{Line: 1, Column: 1}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
