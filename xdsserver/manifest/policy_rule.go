package manifest

import (
	"fmt"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func accessRuleNode(rule model.AccessRule, namespace string) node {
	var m mapping
	m.list("from", principalNodes(rule.From, namespace))
	if notFrom := principalNodes(rule.NotFrom, namespace); len(notFrom) > 0 {
		m.beyond("notFrom", notFrom)
	}
	m.callMatch(rule.Calls())
	unless := make(sequence, 0, len(rule.Unless))
	for _, calls := range rule.Unless {
		var n mapping
		n.callMatch(calls)
		unless = append(unless, n)
	}
	if len(unless) > 0 {
		m.beyond("unless", unless)
	}
	return m
}

func principalNodes(principals []model.Principal, namespace string) sequence {
	nodes := make(sequence, 0, len(principals))
	for _, p := range principals {
		nodes = append(nodes, quote(p.Text(namespace)))
	}
	return nodes
}

// callMatch puts the calls that a rule is for, whoever calls.
func (m *mapping) callMatch(calls model.CallMatch) {
	methods, matches := make(sequence, 0, len(calls.Methods)), make(sequence, 0, len(calls.Metadata))
	for _, method := range calls.Methods {
		methods = append(methods, quote(method))
	}
	for _, match := range calls.Metadata {
		matches = append(matches, metadataNode(match))
	}
	m.list("methods", methods)
	if calls.Path != nil {
		m.beyond("path", pathNode(*calls.Path))
	}
	m.list("metadata", matches)
}

func metadataNode(match model.MetadataMatch) node {
	var m mapping
	m.text("name", match.Name)
	if match.Kind != model.ValueIs {
		m.beyond("type", quote(metadataType(match.Kind)))
	}
	m.text("value", match.Value)
	if match.Invert {
		m.beyond("invert", scalarText("true"))
	}
	if match.IgnoreCase {
		m.beyond("ignoreCase", scalarText("true"))
	}
	return m
}

func pathNode(path model.PathMatch) node {
	var m mapping
	m.text("type", pathType(path.Kind))
	m.put("value", quote(path.Value))
	return m
}

// metadataType and pathType name what a manifest has no word for, after the words of the
// Gateway API where it has some.
func metadataType(kind model.MetadataKind) string {
	switch kind {
	case model.ValueIs:
		return "Exact"
	case model.ValuePrefix:
		return "Prefix"
	case model.ValueSuffix:
		return "Suffix"
	case model.ValueContains:
		return "Contains"
	case model.ValueExpression:
		return regex
	case model.ValueAny:
		return "Any"
	}
	return fmt.Sprintf("unknown kind %d", kind)
}

func pathType(kind model.PathKind) string {
	switch kind {
	case model.PathPrefix:
		return "Prefix"
	case model.PathExpression:
		return regex
	}
	return fmt.Sprintf("unknown kind %d", kind)
}
