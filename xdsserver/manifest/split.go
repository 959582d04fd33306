package manifest

import (
	"bytes"
	"iter"
	"strings"
)

// A document is one of the YAML documents of an input.
type document struct {
	// line is where text begins in the input, counted from 1.
	line int
	text []byte
}

// split yields the documents of an input that hold more than comments, with
// their numbers. A line that begins with "---" or "..." ends a document whatever
// it stands in (YAML 1.2, 9.1.4), so each can be read alone: a syntax error in
// one does not hide the others.
func split(yaml []byte) iter.Seq2[int, document] {
	return func(yield func(int, document) bool) {
		n, line, start, from := 0, 1, 0, 1
		flush := func(end int) bool {
			text, above := trim(yaml[start:end])
			if len(text) == 0 {
				return true
			}
			n++
			return yield(n-1, document{line: from + above, text: text})
		}
		for at := 0; at < len(yaml); line++ {
			end := len(yaml)
			if i := bytes.IndexByte(yaml[at:], '\n'); i >= 0 {
				end = at + i + 1
			}
			if marker(yaml[at:end]) {
				if !flush(at) {
					return
				}
				// What follows "---" on its line belongs to the document, in
				// its column.
				copy(yaml[at:], "   ")
				start, from = at, line
			}
			at = end
		}
		flush(len(yaml))
	}
}

func marker(line []byte) bool {
	if !bytes.HasPrefix(line, []byte("---")) && !bytes.HasPrefix(line, []byte("...")) {
		return false
	}
	return len(line) == 3 || strings.IndexByte(" \t\n", line[3]) >= 0
}

// trim leaves out the lines before the first that holds more than space and a
// comment, and says how many they were.
func trim(text []byte) (rest []byte, above int) {
	for len(text) > 0 {
		end := len(text)
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			end = i + 1
		}
		if line := bytes.TrimSpace(text[:end]); len(line) > 0 && line[0] != '#' {
			return text, above
		}
		text, above = text[end:], above+1
	}
	return nil, above
}
