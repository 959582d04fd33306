package manifest

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A node is a scalar, a mapping or a sequence that is going to be written.
//
// goccy/go-yaml can write too, but leaves to chance which texts it quotes; what
// is stored and compared must come back as it was.
type node any

type (
	// scalarText is a value as it stands in YAML.
	scalarText string
	mapping    []entryNode
	sequence   []node
)

type entryNode struct {
	key   string
	value node
	// beyond has a comment say that no manifest can say it.
	beyond bool
}

func (m *mapping) put(key string, n node) { *m = append(*m, entryNode{key: key, value: n}) }

// beyond puts what other sources can say, and no manifest. To leave it out would show a
// policy or a route that is wider or narrower than what is enforced; written as a field
// that [Parse] does not know it is never applied as another one.
func (m *mapping) beyond(key string, n node) {
	*m = append(*m, entryNode{key: key, value: n, beyond: true})
}

// raw puts text that needs no quotes.
func (m *mapping) raw(key, text string) { m.put(key, scalarText(text)) }

// text puts a text unless it is empty.
func (m *mapping) text(key, text string) {
	if text != "" {
		m.put(key, quote(text))
	}
}

// number puts a number unless it is zero.
func (m *mapping) number(key string, n uint32) {
	if n != 0 {
		m.raw(key, strconv.FormatUint(uint64(n), 10))
	}
}

// list puts a sequence unless it is empty.
func (m *mapping) list(key string, s sequence) {
	if len(s) > 0 {
		m.put(key, s)
	}
}

// plain are texts that no reader of YAML, 1.1 or 1.2, takes for something else;
// words that mean a value are quoted all the same.
var plain = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_./-]*$`)

var words = []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}

// quote returns text as a scalar, in double quotes unless they are not needed.
func quote(text string) scalarText {
	if plain.MatchString(text) && !slices.Contains(words, strings.ToLower(text)) {
		return scalarText(text)
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == ' ' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xff:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	if !utf8.ValidString(text) {
		return "" // the writer refuses it
	}
	return scalarText(b.String())
}

// A writer writes nodes in block style, two spaces a level.
type writer struct {
	b   []byte
	err error
}

func (w *writer) mapping(m mapping, depth int) {
	for i, e := range m {
		if i > 0 || depth == 0 {
			w.indent(depth)
		}
		w.b = append(w.b, e.key...)
		w.b = append(w.b, ':')
		note := ""
		if e.beyond {
			note = " # no manifest can say this"
		}
		w.value(e.value, depth, note)
	}
}

// value writes a node, with a note at the end of its first line.
func (w *writer) value(n node, depth int, note string) {
	switch n := n.(type) {
	case scalarText:
		if n == "" {
			w.err = errors.New("holds text that is not UTF-8")
		}
		w.b = append(w.b, ' ')
		w.b = append(w.b, n...)
		w.note(note)
	case mapping:
		if len(n) == 0 {
			w.b = append(w.b, " {}"...)
			w.note(note)
			return
		}
		w.note(note)
		w.indent(depth + 1)
		w.mapping(n, depth+1)
	case sequence:
		if len(n) == 0 {
			w.b = append(w.b, " []"...)
			w.note(note)
			return
		}
		w.note(note)
		for _, entry := range n {
			w.indent(depth + 1)
			w.b = append(w.b, '-')
			if m, ok := entry.(mapping); ok && len(m) > 0 {
				w.b = append(w.b, ' ')
				w.mapping(m, depth+2)
				continue
			}
			w.value(entry, depth+2, "")
		}
	}
}

func (w *writer) note(note string) {
	w.b = append(w.b, note...)
	w.b = append(w.b, '\n')
}

func (w *writer) indent(depth int) {
	for range depth {
		w.b = append(w.b, "  "...)
	}
}
