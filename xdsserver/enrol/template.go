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
	if !strings.HasPrefix(text, "ns/") || !strings.Contains(text, "/svc/") {
		return nil, fmt.Errorf("oidc: identity %.200q: %s", text, want)
	}
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
	return t, nil
}

// claimPath reads a.b, or "a.b" as one name; nil is neither.
func claimPath(name string) []string {
	if literal, ok := strings.CutPrefix(name, `"`); ok {
		literal, ok = strings.CutSuffix(literal, `"`)
		if !ok || literal == "" || strings.Contains(literal, `"`) {
			return nil
		}
		return []string{literal}
	}
	parts := strings.Split(name, ".")
	for _, p := range parts {
		if p == "" || strings.ContainsAny(p, `"{`) {
			return nil
		}
	}
	return parts
}

// fill puts claims in. A claim is text and one segment: one that holds a '/' could
// name another namespace.
func (t template) fill(claims map[string]any) (string, error) {
	var b strings.Builder
	for _, p := range t {
		if p.claim == nil {
			b.WriteString(p.text)
			continue
		}
		var value any = claims
		for _, name := range p.claim {
			inner, _ := value.(map[string]any)
			value = inner[name]
		}
		text, ok := value.(string)
		if !ok || text == "" {
			return "", fmt.Errorf("has no claim %s that is text", strings.Join(p.claim, "."))
		}
		if strings.ContainsAny(text, "/%") {
			return "", fmt.Errorf("claim %s is %.80q, which is not one name", strings.Join(p.claim, "."), text)
		}
		b.WriteString(text)
	}
	return b.String(), nil
}
