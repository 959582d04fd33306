package tap

import "strings"

// A pattern is text in which '*' stands for anything, also nothing.
type pattern string

// matches takes time for the product of both lengths at most: it goes back to the last
// '*' only.
func (p pattern) matches(s string) bool {
	i, j := 0, 0
	star, resume := -1, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, resume = i, j
			i++
		case i < len(p) && p[i] == s[j]:
			i++
			j++
		case star >= 0:
			resume++
			i, j = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(string(p[i:]), "*") == ""
}

// A methodPattern is of full methods, or of their last part alone.
type methodPattern struct {
	pattern pattern
	bare    bool
}

func newMethodPattern(text string) methodPattern {
	switch {
	case text == "":
		return methodPattern{pattern: "*"}
	case !strings.Contains(text, "/"):
		return methodPattern{pattern: pattern(text), bare: true}
	case text[0] != '/':
		text = "/" + text
	}
	return methodPattern{pattern: pattern(text)}
}

func (p methodPattern) matches(method string) bool {
	if p.bare {
		method = method[strings.LastIndexByte(method, '/')+1:]
	}
	return p.pattern.matches(method)
}
