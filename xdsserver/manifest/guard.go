package manifest

import (
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/token"
)

const (
	// maxDepth of nesting; the deepest of ours is 10, Kubernetes' managedFields 12.
	// The parser calls itself at every level, and Go cannot recover from a full stack.
	maxDepth = 32
	// maxKeys of one mapping: the parser's time grows with their square.
	maxKeys = 256
	// maxTokens of one document; an endpoint has 13.
	maxTokens = 150_000
)

// A fault is what is wrong with a place in a document.
type fault struct {
	line, column int // in the document, counted from 1
	field        string
	message      string
	warning      bool
}

func faultAt(tk *token.Token, format string, args ...any) *fault {
	return &fault{line: tk.Position.Line, column: tk.Position.Column, message: fmt.Sprintf(format, args...)}
}

// guard reads a document's tokens before the parser does. It refuses what has no
// place in a manifest and what the parser would take too long, too much memory
// or too much stack for: anchors and aliases (a few lines can stand for
// gigabytes), tags, deep nesting, wide mappings and values that are left out.
func guard(tokens token.Tokens) *fault {
	if tk := tokens.InvalidToken(); tk != nil {
		return faultAt(tk, "is no YAML: %s", tk.Error)
	}
	tokens = slices.DeleteFunc(slices.Clone(tokens), func(tk *token.Token) bool { return tk.Type == token.CommentType })
	var g guardian
	for i, tk := range tokens {
		var next *token.Token
		if i+1 < len(tokens) {
			next = tokens[i+1]
		}
		if f := g.token(tk, next); f != nil {
			return f
		}
		g.last = tk
	}
	return nil
}

type guardian struct {
	last *token.Token
	// block are the block collections around the current token, the outermost
	// first; flow are those in brackets within the innermost of them.
	block []level
	flow  []level
}

// A level is one collection that is open.
type level struct {
	sequence bool
	column   int // of the keys or dashes of a block collection
	keys     int
	// valued is whether the current entry of a mapping in brackets has a value.
	valued bool
}

func (g *guardian) token(tk, next *token.Token) *fault {
	switch tk.Type {
	case token.AnchorType, token.AliasType, token.MergeKeyType:
		return faultAt(tk, "anchors, aliases and merge keys (&, *, <<) are not read: write the value out")
	case token.TagType:
		return faultAt(tk, "tags (!) are not read: remove it; quotes make a value text")
	case token.DirectiveType:
		return faultAt(tk, "directives (%%) are not read: remove it")
	case token.MappingKeyType:
		return faultAt(tk, "keys after a question mark are not read: write key: value")
	case token.MappingStartType, token.SequenceStartType:
		g.flow = append(g.flow, level{sequence: tk.Type == token.SequenceStartType})
	case token.MappingEndType, token.SequenceEndType, token.CollectEntryType:
		return g.entryEnd(tk)
	case token.MappingValueType:
		return g.value(tk, next)
	case token.SequenceEntryType:
		return g.dash(tk, next)
	default:
	}
	return g.depth(tk)
}

func (g *guardian) depth(tk *token.Token) *fault {
	if len(g.block)+len(g.flow) > maxDepth {
		return faultAt(tk, "is nested deeper than %d levels", maxDepth)
	}
	return nil
}

// entryEnd is for a comma, or the bracket that ends a collection.
func (g *guardian) entryEnd(tk *token.Token) *fault {
	if len(g.flow) == 0 {
		return nil // the parser says what is wrong
	}
	top := &g.flow[len(g.flow)-1]
	switch g.last.Type {
	case token.MappingValueType:
		return faultAt(g.last, "the key has no value: give one, or remove the key")
	case token.MappingStartType, token.SequenceStartType, token.CollectEntryType:
		if tk.Type == token.CollectEntryType {
			return faultAt(tk, "nothing stands before the comma: remove it")
		}
	default:
		if !top.sequence && !top.valued {
			return faultAt(g.last, "the key has no value: write key: value")
		}
	}
	top.valued = false
	if tk.Type != token.CollectEntryType {
		g.flow = g.flow[:len(g.flow)-1]
		if len(g.flow) > 0 {
			g.flow[len(g.flow)-1].valued = true
		}
	}
	return nil
}

// value is for the colon between key and value.
func (g *guardian) value(tk, next *token.Token) *fault {
	if g.last == nil || !scalar(g.last) {
		return faultAt(tk, "a key must stand before the colon, and be a plain word")
	}
	if n := len(g.flow); n > 0 {
		g.flow[n-1].valued = true
		g.flow[n-1].keys++
		return tooWide(tk, g.flow[n-1])
	}
	key := g.last
	column := key.Position.Column
	g.close(column, false)
	if n := len(g.block); n == 0 || g.block[n-1].column != column {
		g.block = append(g.block, level{column: column})
	}
	top := &g.block[len(g.block)-1]
	top.keys++
	if f := tooWide(tk, *top); f != nil {
		return f
	}
	if next == nil || next.Position.Line > tk.Position.Line &&
		(next.Position.Column < column || next.Position.Column == column && next.Type != token.SequenceEntryType) {
		return faultAt(key, "%s has no value: give one, or remove the key", key.Value)
	}
	return g.depth(tk)
}

// dash is for the start of a block sequence's entry.
func (g *guardian) dash(tk, next *token.Token) *fault {
	if len(g.flow) > 0 {
		return nil // the parser says what is wrong
	}
	column := tk.Position.Column
	g.close(column, true)
	if n := len(g.block); n == 0 || g.block[n-1].column != column || !g.block[n-1].sequence {
		g.block = append(g.block, level{sequence: true, column: column})
	}
	if next == nil || next.Position.Line > tk.Position.Line && next.Position.Column <= column {
		return faultAt(tk, "the entry has no value: give one, or remove the dash")
	}
	return g.depth(tk)
}

// close leaves the block collections that a key or dash in column ends: those
// further right, and for a key a sequence in its own column.
func (g *guardian) close(column int, dash bool) {
	for n := len(g.block); n > 0; n-- {
		top := g.block[n-1]
		if top.column < column || top.column == column && (dash || !top.sequence) {
			return
		}
		g.block = g.block[:n-1]
	}
}

func tooWide(tk *token.Token, l level) *fault {
	if l.keys > maxKeys {
		return faultAt(tk, "the mapping has more than %d keys", maxKeys)
	}
	return nil
}

func scalar(tk *token.Token) bool {
	switch tk.Type {
	case token.StringType, token.SingleQuoteType, token.DoubleQuoteType, token.BoolType, token.NullType,
		token.IntegerType, token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType,
		token.FloatType, token.InfinityType, token.NanType:
		return true
	default:
		return false
	}
}
