package enrol

import (
	"fmt"
	"strings"
)

// A template makes an identity's path of a token's claims.
type template []piece

// A piece is text, or the path to a claim.
type piece struct {
	text  string
	claim []string
}

// parseTemplate reads "ns/{namespace}/svc/{sub}".
func parseTemplate(text string) (template, error) {
	const want = "want for example identity=ns/{namespace}/svc/{service}"
	var t template
	for rest := text; rest != ""; {
		before, after, found := strings.Cut(rest, "{")
		if before != "" {
			t = append(t, piece{text: before})
		}
		if !found {
			break
		}
		name, behind, found := strings.Cut(after, "}")
		claim := claimPath(name)
		if !found || claim == nil {
			return nil, fmt.Errorf("oidc: identity %.200q: %.40q is no claim: %s", text, name, want)
		}
		t = append(t, piece{claim: claim})
		rest = behind
	}
	// What no claims can make an identity is found now, not at each token.
	if path := t.with(func([]string) string { return "x" }); serviceAt(path) == "" {
		return nil, fmt.Errorf("oidc: identity %.200q: is not of the form ns/NAMESPACE/svc/NAME, %s", text, want)
	}
	claims := 0
	for segment := range strings.SplitSeq(t.with(func([]string) string { return "{" }), "/") {
		n := strings.Count(segment, "{")
		if claims += n; n > 1 {
			return nil, fmt.Errorf("oidc: identity %.200q: two claims make one name, and different ones could make the same: %s", text, want)
		}
	}
	if claims == 0 {
		return nil, fmt.Errorf("oidc: identity %.200q: names no claim, so that every token of the issuer would be this service: %s", text, want)
	}
	return t, nil
}

// claimPath reads the names between dots, some of them quoted; nil is none.
func claimPath(text string) []string {
	var path []string
	for {
		var (
			name, rest string
			more       bool
		)
		if quoted, ok := strings.CutPrefix(text, `"`); ok {
			name, rest, ok = strings.Cut(quoted, `"`)
			if !ok {
				return nil
			}
			if rest, more = strings.CutPrefix(rest, "."); !more && rest != "" {
				return nil
			}
		} else {
			name, rest, more = strings.Cut(text, ".")
		}
		if name == "" || strings.ContainsAny(name, `"{`) {
			return nil
		}
		path = append(path, name)
		if !more {
			return path
		}
		text = rest
	}
}

// with puts in what value returns for each claim.
func (t template) with(value func(claim []string) string) string {
	var b strings.Builder
	for _, p := range t {
		if p.claim == nil {
			b.WriteString(p.text)
		} else {
			b.WriteString(value(p.claim))
		}
	}
	return b.String()
}

// fill puts claims in. A claim is text and one segment: one that holds a '/' could
// name another namespace.
func (t template) fill(claims map[string]any) (string, error) {
	var bad error
	path := t.with(func(claim []string) string {
		var value any = claims
		for _, name := range claim {
			inner, _ := value.(map[string]any)
			value = inner[name]
		}
		text, _ := value.(string)
		switch {
		case bad != nil:
		case text == "":
			bad = fmt.Errorf("has no claim %s that is text", strings.Join(claim, "."))
		case strings.ContainsAny(text, "/%"):
			bad = fmt.Errorf("claim %s is %.80q, which is not one name", strings.Join(claim, "."), text)
		}
		return text
	})
	return path, bad
}
