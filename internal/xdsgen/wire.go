package main

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
)

func (g *generator) unmarshal(name string, members []member) {
	g.printf("func (m *%s) unmarshal(b []byte, o options) error {", name)
	g.printf("o, err := o.deeper()\nif err != nil {\nreturn err\n}\nm.begin(b)")
	g.printf("for len(b) > 0 {\nnum, typ, n := protowire.ConsumeTag(b)\nif n < 0 {\nreturn protowire.ParseError(n)\n}\nb = b[n:]")
	if len(members) == 0 {
		g.printf("n, err = m.skip(%s, num, typ, b, o)", table(name))
	} else {
		g.printf("switch {")
		for _, m := range members {
			g.read(name, m)
		}
		g.printf("default:\nn, err = m.skip(%s, num, typ, b, o)\n", table(name))
		for _, o := range oneofs(members) {
			g.forget(members, o)
		}
		g.printf("}")
	}
	g.printf("if err != nil {\nreturn err\n}\nb = b[n:]\n}\nreturn nil\n}\n")
}

func oneofs(members []member) (out []protoreflect.OneofDescriptor) {
	for _, m := range members {
		if m.wrapper != "" && (len(out) == 0 || out[len(out)-1] != m.ContainingOneof()) {
			out = append(out, m.ContainingOneof())
		}
	}
	return out
}

// forget drops what was read of a oneof when another of its fields comes.
func (g *generator) forget(members []member, o protoreflect.OneofDescriptor) {
	read := map[protoreflect.Name]bool{}
	for _, m := range members {
		read[m.Name()] = true
	}
	list := ""
	for i := range o.Fields().Len() {
		if f := o.Fields().Get(i); !read[f.Name()] {
			if list != "" {
				list += " || "
			}
			list += fmt.Sprintf("num == %d", f.Number())
		}
	}
	if list != "" {
		g.printf("if %s {\nm.%s = nil\n}", list, camel(string(o.Name())))
	}
}

// read writes the case of one field.
func (g *generator) read(name string, m member) {
	g.printf("case num == %d && typ == %s:", m.Number(), wireType(m))
	switch {
	case m.IsMap():
		g.readMap(m)
	case m.Kind() == protoreflect.MessageKind:
		g.readMessage(m)
	default:
		g.readScalar(m)
	}
	if m.IsList() && m.Kind() == protoreflect.Uint32Kind {
		g.printf("m.mark(%s, %d, true)", table(name), m.at)
		g.printf("case num == %d && typ == protowire.BytesType:", m.Number())
		g.printf("if m.%s, n, err = consumePacked(m.%s, b); err != nil {\nreturn err\n}", m.name, m.name)
	}
	if m.IsList() || m.IsMap() || m.HasPresence() {
		g.printf("m.mark(%s, %d, true)", table(name), m.at)
	} else {
		g.printf("m.mark(%s, %d, m.%s != %s)", table(name), m.at, m.name, zero(g.goType(m), m))
	}
}

func (g *generator) readMap(m member) {
	g.printf("var key string\nvar v []byte\nif key, v, n, err = consumeEntry(b); err != nil {\nreturn err\n}")
	g.printf("if m.%s == nil {\nm.%s = %s{}\n}", m.name, m.name, g.goType(m))
	if m.MapValue().Kind() == protoreflect.StringKind {
		g.printf("m.%s[key] = string(v)", m.name)
		return
	}
	g.printf("of := new(%s)\n%s\nm.%s[key] = of", g.element(m.MapValue()), g.into("of", m.MapValue()), m.name)
}

// into reads v into a message.
func (g *generator) into(of string, f protoreflect.FieldDescriptor) string {
	if wellKnown[f.Message().FullName()] != "" {
		return fmt.Sprintf("if err = merge(v, %s, o); err != nil {\nreturn err\n}", of)
	}
	return fmt.Sprintf("if err = %s.unmarshal(v, o); err != nil {\nreturn err\n}", of)
}

func (g *generator) readMessage(m member) {
	g.printf("var v []byte\nif v, n, err = consumeBytes(b); err != nil {\nreturn err\n}")
	switch {
	case m.IsList():
		g.printf("of := new(%s)\n%s\nm.%s = append(m.%s, of)", g.element(m), g.into("of", m), m.name, m.name)
	case m.wrapper != "":
		// A message that is there twice is one.
		g.printf("of := m.Get%s()\nif of == nil {\nof = new(%s)\n}\n%s\nm.%s = &%s{of}", m.name, g.element(m), g.into("of", m),
			camel(string(m.ContainingOneof().Name())), m.wrapper)
	default:
		g.printf("if m.%s == nil {\nm.%s = new(%s)\n}\n%s", m.name, m.name, g.element(m), g.into("m."+m.name, m))
	}
}

func (g *generator) readScalar(m member) {
	var value string
	switch m.Kind() {
	case protoreflect.StringKind:
		g.printf("var v string\nif v, n, err = consumeString(b); err != nil {\nreturn err\n}")
		value = "v"
	case protoreflect.DoubleKind:
		g.printf("var v float64\nif v, n, err = consumeDouble(b); err != nil {\nreturn err\n}")
		if value = "v"; m.HasOptionalKeyword() {
			value = "&v"
		}
	case protoreflect.BoolKind:
		g.printf("var v uint64\nif v, n, err = consumeVarint(b); err != nil {\nreturn err\n}")
		value = "v != 0"
	default:
		g.printf("var v uint64\nif v, n, err = consumeVarint(b); err != nil {\nreturn err\n}")
		value = fmt.Sprintf("%s(v)", g.single(m))
	}
	switch {
	case m.IsList():
		g.printf("m.%s = append(m.%s, %s)", m.name, m.name, value)
	case m.wrapper != "":
		g.printf("m.%s = &%s{%s}", camel(string(m.ContainingOneof().Name())), m.wrapper, value)
	default:
		g.printf("m.%s = %s", m.name, value)
	}
}

// marshal writes what a message that is sent needs: texts, lists and maps of them, and
// messages.
func (g *generator) marshal(name string, members []member) {
	g.printf("// Append appends the message to b, as it goes on the wire.")
	g.printf("func (m *%s) Append(b []byte) ([]byte, error) {\nif m == nil {\nreturn b, nil\n}", name)
	g.printf("var err error")
	for _, m := range members {
		field, n := "m."+m.name, m.Number()
		switch {
		case m.IsMap():
			value := fmt.Sprintf("v := []byte(%s[key])", field)
			if m.MapValue().Kind() == protoreflect.MessageKind {
				value = fmt.Sprintf("var v []byte\nif v, err = %s[key].Append(nil); err != nil {\nreturn nil, err\n}", field)
			}
			g.printf("for _, key := range slices.Sorted(maps.Keys(%s)) {\n%s\n"+
				"if b, err = appendEntry(b, %d, key, v); err != nil {\nreturn nil, err\n}\n}", field, value, n)
		case m.IsList():
			g.printf("for _, v := range %s {\nif b, err = appendString(b, %d, v); err != nil {\nreturn nil, err\n}\n}", field, n)
		case m.Kind() == protoreflect.StringKind:
			set := fmt.Sprintf("m.Get%s() != \"\"", m.name)
			if m.wrapper != "" {
				set = fmt.Sprintf("_, ok := m.Get%s().(*%s); ok", camel(string(m.ContainingOneof().Name())), m.wrapper)
			}
			g.printf("if %s {\nif b, err = appendString(b, %d, m.Get%s()); err != nil {\nreturn nil, err\n}\n}", set, n, m.name)
		default:
			encode := field + ".Append(nil)"
			if wellKnown[m.Message().FullName()] != "" {
				encode = "proto.Marshal(" + field + ")"
			}
			g.printf("if %s != nil {\nv, err := %s\nif err != nil {\nreturn nil, err\n}\nb = appendBytes(b, %d, v)\n}", field, encode, n)
		}
	}
	g.printf("return b, nil\n}\n")
}
