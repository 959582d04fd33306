package tap

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/structpb"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// canary is a secret. It may be in no event.
const canary = "CANARY-5e1f"

// orderOf reads a message of shop.v1.Order.
func orderOf(tb testing.TB, text string) proto.Message {
	tb.Helper()
	m := dynamicpb.NewMessage(order)
	if err := protojson.Unmarshal([]byte(strings.ReplaceAll(text, "SECRET", canary)), m); err != nil {
		tb.Fatal(err)
	}
	return m
}

func redactionOf(names ...string) *redaction {
	return newRedaction([]*opened{{spec: &resource.Tap{Redact: names}}})
}

func TestMessagesAreShownWithoutTheirSecrets(t *testing.T) {
	for name, test := range map[string]struct {
		redact     []string
		give, want string
	}{
		"a field that is debug_redact":          {nil, `{"id":"a","pin":"SECRET"}`, `{"id":"a"}`},
		"one in a message":                      {nil, `{"card":{"holder":"ada","cvc":"SECRET"}}`, `{"card":{"holder":"ada"}}`},
		"one in a list":                         {nil, `{"cards":[{"cvc":"SECRET"},{"holder":"bob","cvc":"SECRET"}]}`, `{"cards":[{},{"holder":"bob"}]}`},
		"one in a map":                          {nil, `{"byName":{"x":{"cvc":"SECRET"}}}`, `{"byName":{"x":{}}}`},
		"one in an Any":                         {nil, `{"more":{"@type":"type.googleapis.com/shop.v1.Card","holder":"ada","cvc":"SECRET"}}`, `{"more":{"@type":"type.googleapis.com/shop.v1.Card","holder":"ada"}}`},
		"one in an Any in an Any":               {nil, `{"more":{"@type":"x/shop.v1.Order","more":{"@type":"x/shop.v1.Card","cvc":"SECRET"}}}`, `{"more":{"@type":"x/shop.v1.Order","more":{"@type":"x/shop.v1.Card"}}}`},
		"a value of an enum":                    {nil, `{"id":"a","risk":"RISK_MARKED"}`, `{"id":"a"}`},
		"a field with a secret's name":          {nil, `{"id":"a","password":"SECRET"}`, `{"id":"a"}`},
		"a configured field, by its full name":  {[]string{"shop.v1.Card.number"}, `{"card":{"number":"SECRET","holder":"ada"}}`, `{"card":{"holder":"ada"}}`},
		"of another message it is shown":        {[]string{"shop.v1.Order.number"}, `{"card":{"number":"1"}}`, `{"card":{"number":"1"}}`},
		"a configured field, by its bare name":  {[]string{"Number"}, `{"cards":[{"number":"SECRET"}],"byName":{"x":{"number":"SECRET"}}}`, `{"cards":[{}],"byName":{"x":{}}}`},
		"a bare name in another spelling":       {[]string{"byName"}, `{"byName":{"x":{"number":"SECRET"}}}`, `{}`},
		"a configured message":                  {[]string{"shop.v1.Parcel"}, `{"id":"a","parcel":{"street":"SECRET"}}`, `{"id":"a"}`},
		"a configured message in an Any":        {[]string{"shop.v1.Card"}, `{"more":{"@type":"x/shop.v1.Card","holder":"SECRET"}}`, `{"more":{}}`},
		"an entry of a map with a secret's key": {nil, `{"labels":{"password":"SECRET","x-api-key":"SECRET","zone":"a"}}`, `{"labels":{"zone":"a"}}`},
		"a configured entry of a map":           {[]string{"iban"}, `{"labels":{"IBAN":"SECRET","zone":"a"}}`, `{"labels":{"zone":"a"}}`},
		"a field of a Struct":                   {nil, `{"free":{"user":"ada","deep":{"password":"SECRET","n":1}}}`, `{"free":{"deep":{"n":1},"user":"ada"}}`},
		"deep in messages":                      {nil, `{"next":{"next":{"pin":"SECRET","id":"c"}}}`, `{"next":{"next":{"id":"c"}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			m := redactionOf(test.redact...).show(orderOf(t, test.give))
			if strings.Contains(m.String(), canary) {
				t.Errorf("the secret is told: %s", m)
			}
			if d := cmp.Diff(plainJSON(t, test.want), plainJSON(t, m.GetJson())); d != "" || m.GetType() != "shop.v1.Order" || m.GetSize() == 0 {
				t.Errorf("got %v (-want +got)\n%s", m, d)
			}
		})
	}
}

func plainJSON(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}

func TestWhatIsShownOfAMessageIsBounded(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	lines := make([]string, 100_000)
	for i := range lines {
		lines[i] = `"\n\n\n"`
	}
	labels := make([]string, 10_000)
	for i := range labels {
		labels[i] = fmt.Sprintf(`"key-%d":"v"`, i)
	}
	for name, give := range map[string]string{
		"a long text":          `{"id":"` + long + `"}`,
		"many texts":           `{"lines":[` + strings.Join(lines, ",") + `]}`,
		"a large map":          `{"labels":{` + strings.Join(labels, ",") + `}}`,
		"many bytes":           `{"image":"` + strings.Repeat("QUFB", 1<<18) + `"}`,
		"very deep":            strings.Repeat(`{"next":`, 60) + `{"id":"x"}` + strings.Repeat(`}`, 60),
		"text that is escaped": `{"id":"` + strings.Repeat(`\u0001`, 1<<14) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			m := redactionOf().show(orderOf(t, give))
			if !m.GetCut() || len(m.GetJson()) > maxJSON || len(m.GetJson()) < 100 || !json.Valid([]byte(m.GetJson())) {
				t.Errorf("%d bytes, cut %v: %.200s", len(m.GetJson()), m.GetCut(), m.GetJson())
			}
		})
	}
}

func TestWhatCannotBeShownIsNamed(t *testing.T) {
	unknown := orderOf(t, `{"id":"a"}`)
	unknown.ProtoReflect().SetUnknown(protoreflect.RawFields("\xfa\x01\x0b" + canary))
	anything := dynamicpb.NewMessage(order)
	fields := order.Fields()
	packed := anything.Mutable(fields.ByName("more")).Message()
	packed.Set(packed.Descriptor().Fields().ByName("type_url"), protoreflect.ValueOfString("x/no.such.Type"))
	packed.Set(packed.Descriptor().Fields().ByName("value"), protoreflect.ValueOfBytes([]byte(canary)))
	never := orderOf(t, `{"at":"2026-01-01T00:00:00Z"}`)
	at := never.ProtoReflect().Mutable(fields.ByName("at")).Message()
	at.Set(at.Descriptor().Fields().ByName("nanos"), protoreflect.ValueOfInt32(-1))
	for name, test := range map[string]struct {
		give any
		want *tapv1.Message
	}{
		"text":                            {"hello " + canary, &tapv1.Message{Type: "string"}},
		"nothing":                         {nil, &tapv1.Message{Type: "<nil>"}},
		"a nil message":                   {(*tapv1.Event)(nil), &tapv1.Message{Type: "tulle.tap.v1.Event"}},
		"fields nobody knows":             {unknown, &tapv1.Message{Type: "shop.v1.Order", Size: 17, Json: `{"id":"a"}`}},
		"an Any of a type nobody knows":   {anything, &tapv1.Message{Type: "shop.v1.Order", Size: 31, Json: `{"more":{}}`, Cut: true}},
		"a time that is none":             {never, &tapv1.Message{Type: "shop.v1.Order", Size: 19, Cut: true}},
		"a message whose code falls over": {panicking{}, &tapv1.Message{Cut: true}},
	} {
		t.Run(name, func(t *testing.T) {
			got := redactionOf().show(test.give)
			got.Size = min(got.GetSize(), test.want.GetSize())
			if !proto.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

type panicking struct{ proto.Message }

func TestMetadataIsShownWithoutSecrets(t *testing.T) {
	md := metadata.MD{
		"authorization": {"Bearer " + canary}, "cookie": {canary, canary}, "x-api-key": {canary}, "x-password": {canary}, "authorization-bin": {canary},
		"x-iban": {canary}, "x-forwarded": {"bearer " + canary}, "x-user": {"ada"}, "grpc-trace-bin": {"\x00\x01"},
		"x-long": {strings.Repeat("l", 5000)}, "x-raw": {"a\xffb"}, "x-blob-bin": {strings.Repeat("b", 1000)},
	}
	got := redactionOf("X-IBAN").metadata(md)
	text := map[string]string{}
	for _, m := range got {
		text[m.GetKey()] = m.GetValue()
		if strings.Contains(m.GetValue(), canary) {
			t.Errorf("the secret is told: %v", m)
		}
	}
	for key, want := range map[string]string{
		"authorization": Redacted, "x-iban": Redacted, "x-forwarded": Redacted, "x-user": "ada", "grpc-trace-bin": "AAE=", "x-raw": "a\uFFFDb",
	} {
		if text[key] != want {
			t.Errorf("%s: got %q, want %q", key, text[key], want)
		}
	}
	if len(text["x-long"]) != maxValue || len(text["x-blob-bin"]) > 2*maxBinary || len(got) != len(md)+1 {
		t.Errorf("%d entries: %v", len(got), got)
	}
	many := metadata.MD{}
	for i := range 1000 {
		many.Append(fmt.Sprint("k", i), "v")
	}
	if n := len(redactionOf().metadata(many)); n != maxEntries {
		t.Errorf("%d entries", n)
	}
}

// Whatever a message holds, a secret in it is not shown, and what is shown is JSON.
func FuzzShow(f *testing.F) {
	f.Add([]byte("\x0a\x01a\x12\x05" + canary[:5]))
	seed, err := proto.Marshal(orderOf(f, `{"card":{"cvc":"SECRET"},"labels":{"password":"SECRET"},"free":{"a":[1,null,{"password":"SECRET"}]}}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	pin, card := order.Fields().ByName("pin"), order.Fields().ByName("card")
	f.Fuzz(func(t *testing.T, b []byte) {
		m := dynamicpb.NewMessage(order)
		if !parsed(b, m) {
			return
		}
		before := strings.Contains(string(b), canary)
		m.Set(pin, protoreflect.ValueOfString(canary))
		c := m.Mutable(card).Message()
		c.Set(c.Descriptor().Fields().ByName("cvc"), protoreflect.ValueOfString(canary))
		got := redactionOf().show(m)
		if !before && strings.Contains(got.String(), canary) {
			t.Errorf("the secret is told: %v", got)
		}
		if got.GetJson() != "" && (!json.Valid([]byte(got.GetJson())) || len(got.GetJson()) > maxJSON) {
			t.Errorf("%d bytes: %q", len(got.GetJson()), got.GetJson())
		}
		if _, err := proto.Marshal(got); err != nil {
			t.Error(err)
		}
	})
}

// parsed reads a message. A dynamic one panics over an entry of a map without a key.
func parsed(b []byte, m proto.Message) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return proto.Unmarshal(b, m) == nil
}

func BenchmarkShow(b *testing.B) {
	large := &structpb.Struct{Fields: map[string]*structpb.Value{"x": structpb.NewStringValue(strings.Repeat("x", 1<<20))}}
	for name, m := range map[string]proto.Message{
		"small":   orderOf(b, `{"id":"a","pin":"SECRET","card":{"number":"1","holder":"ada"},"labels":{"zone":"a"}}`),
		"one MiB": large,
	} {
		b.Run(name, func(b *testing.B) {
			r := redactionOf("shop.v1.Card.number")
			b.ReportAllocs()
			for b.Loop() {
				r.show(m)
			}
		})
	}
}
