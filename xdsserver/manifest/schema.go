package manifest

import (
	"encoding/json"
	"maps"
	"slices"
)

// Schema returns the JSON Schema (draft 7, which editors know best) of a
// document, made from the tables the reader reads by: what the schema allows and
// what [Parse] accepts cannot drift apart. Fields and kinds that are not served
// by this version are not in it, so that an editor marks them at once.
//
//	# yaml-language-server: $schema=./schema.json
func Schema() []byte {
	alternatives := make([]any, 0, len(kinds))
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		alternatives = append(alternatives, kinds[kind].schema())
	}
	b, err := json.MarshalIndent(map[string]any{
		"$schema": "http://json-schema.org/draft-07/schema#",
		"title":   "Tulle manifest",
		"anyOf":   alternatives,
	}, "", "  ")
	if err != nil {
		return []byte("{}") // maps, slices and strings always marshal
	}
	return append(b, '\n')
}

func (s shape) schema() map[string]any {
	properties := make(map[string]any)
	required := []string{}
	for _, f := range s {
		if f.refused != "" {
			continue
		}
		properties[f.name] = f.schema()
		if f.required != "" {
			required = append(required, f.name)
		}
	}
	m := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		m["required"] = required
	}
	return m
}

func (f field) schema() map[string]any {
	m := make(map[string]any)
	switch f.form {
	case text:
		m["type"] = "string"
	case integer:
		m["type"], m["minimum"] = "integer", 0
	case decimal:
		m["type"] = "number"
	case boolean:
		m["type"] = "boolean"
	case duration:
		m["type"], m["pattern"] = "string", durationForm.String()
	case object:
		m = f.of.schema()
	case list:
		m["type"], m["items"] = "array", f.of.schema()
	case textList:
		m["type"], m["items"] = "array", map[string]any{"type": "string"}
	case anything:
	}
	if f.bounded() {
		m["minimum"], m["maximum"] = f.bounds()
	}
	if f.enum != nil {
		m["enum"] = f.enum
	}
	if f.doc != "" {
		m["description"] = f.doc
	}
	return m
}
