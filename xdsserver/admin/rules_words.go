package admin

import (
	"fmt"
	"strings"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// onlyIf says what a rule asks for that its columns do not hold, each part in words.
func onlyIf(rule model.AccessRule) []string {
	var all []string
	if len(rule.NotFrom) > 0 {
		callers := make([]string, len(rule.NotFrom))
		for i, p := range rule.NotFrom {
			callers[i] = principal(p)
		}
		all = append(all, "the caller is not "+strings.Join(callers, " or "))
	}
	if rule.Path != nil {
		all = append(all, pathWords(*rule.Path))
	}
	for _, m := range rule.Metadata {
		if !exact(m) {
			all = append(all, metadataWords(m))
		}
	}
	for _, calls := range rule.Unless {
		all = append(all, "not ("+callWords(calls)+")")
	}
	return all
}

func callWords(calls model.CallMatch) string {
	var all []string
	if len(calls.Methods) > 0 {
		all = append(all, "the method is "+strings.Join(calls.Methods, " or "))
	}
	if calls.Path != nil {
		all = append(all, pathWords(*calls.Path))
	}
	for _, m := range calls.Metadata {
		all = append(all, metadataWords(m))
	}
	return strings.Join(all, " and ")
}

func pathWords(path model.PathMatch) string {
	switch path.Kind {
	case model.PathPrefix:
		return "the method begins with " + path.Value
	case model.PathExpression:
		return "the method matches " + path.Value
	}
	return fmt.Sprintf("the method is as kind %d has it of %s", path.Kind, path.Value)
}

// exact reports whether a name and a value say it all, the value empty for any that is not.
func exact(m model.MetadataMatch) bool {
	return m.Kind == model.ValueIs && !m.Invert && !m.IgnoreCase
}

func metadataWords(m model.MetadataMatch) string {
	value := fmt.Sprintf("%q", m.Value)
	if m.IgnoreCase {
		value += " in any letter case"
	}
	var is string
	switch m.Kind {
	case model.ValueIs:
		is = "is " + value
		if m.Value == "" {
			is = "is there and not empty"
		}
	case model.ValuePrefix:
		is = "begins with " + value
	case model.ValueSuffix:
		is = "ends with " + value
	case model.ValueContains:
		is = "contains " + value
	case model.ValueExpression:
		is = "matches " + value
	case model.ValueAny:
		is = "is there"
	default:
		is = fmt.Sprintf("is as kind %d has it of %s", m.Kind, value)
	}
	switch {
	case !m.Invert:
		return m.Name + " " + is
	case m.Kind == model.ValueAny || m.Kind == model.ValueIs && m.Value == "":
		return "not (" + m.Name + " " + is + ")"
	}
	// A header that is not there has no other value.
	return m.Name + " is there and not (" + m.Name + " " + is + ")"
}
