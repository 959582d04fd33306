package manifest

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; go test -update rewrites it):\n%s", name, diff)
	}
}

func TestMarshalWritesTheCanonicalForm(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			in, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			objects, _ := Parse("f", in)
			docs := make([]string, 0, len(objects))
			for _, o := range objects {
				roundTrip(t, o)
				text, err := Marshal(o)
				if err != nil {
					t.Fatal(err)
				}
				docs = append(docs, string(text))
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".golden", []byte(strings.Join(docs, "---\n")))
		})
	}
}

func TestMarshalQuotesWhatYAMLWouldTakeForSomethingElse(t *testing.T) {
	for _, s := range []string{
		"plain", "a/b-c_d.e", "true", "No", "null", "~", "1", "1.0", "0x1f", "1e3", ".5", "-", "-a", "?", ": ", "a: b", "a " +
			"#b", "#", "&a", "*a", "!a",
		"%a", "@a", "`", "[a]", "{a}", "'", `"`, `\`, " a", "a " +
			"", "a\nb", "a\tb", "\x1b", "ü", "\u0085", "\u2028", "\ufeff", "😀", "<<", "=", "2026-11-23",
		"12:30:45", "y", "on", ".inf", ".nan", "a\\nb", "\x7f", "\U000e0001", strings.Repeat("x ", 100),
	} {
		service := model.ServiceName{Namespace: "default", Name: "voting"}
		roundTrip(t, &model.Service{Name: service, Endpoints: []model.Endpoint{{
			Service: service, Addresses: []string{"10.0.0.1:80"}, Instance: s, Zone: s,
		}}})
	}
}

func TestMarshalSaysWhatItCannotWrite(t *testing.T) {
	service := model.ServiceName{Namespace: "default", Name: "voting"}
	for want, o := range map[string]model.Object{
		"manifest: Service voting: holds text that is not UTF-8": &model.Service{
			Name: service, Endpoints: []model.Endpoint{{Addresses: []string{"10.0.0.1:80"}, Zone: "\xff"}},
		},
		"manifest: kind Banana cannot be written": stranger{},
	} {
		if _, err := Marshal(o); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

type stranger struct{}

func (stranger) Ref() model.Ref { return model.Ref{Kind: "Banana", Namespace: "default", Name: "m"} }
func (stranger) Origin() string { return "f:1" }

func TestDurationsAreWrittenAsTheGatewayAPIHasThem(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                                  "0s",
		1500 * time.Millisecond:            "1s500ms",
		90 * time.Second:                   "1m30s",
		25*time.Hour + 3*time.Millisecond:  "25h3ms",
		time.Hour + time.Minute:            "1h1m",
		99_999*time.Hour + 59*time.Minute:  "99999h59m",
		300 * time.Millisecond:             "300ms",
		2 * time.Minute:                    "2m",
		61*time.Second + time.Millisecond:  "1m1s1ms",
		3600*time.Second + 7*time.Second:   "1h7s",
		23*time.Hour + 59*time.Millisecond: "23h59ms",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}

func TestSchemaHoldsEveryFieldThatIsServed(t *testing.T) {
	schema := Schema()
	if !json.Valid(schema) {
		t.Fatal("no JSON")
	}
	golden(t, "../../docs/schema.json", schema)
	for _, word := range []string{"maxRequests", "endpoints", "parentRefs", "backendRefs", "percent", "RegularExpression", "shadow", "until"} {
		if !strings.Contains(string(schema), `"`+word+`"`) {
			t.Errorf("no %s", word)
		}
	}
	for _, word := range []string{"limits", "hostnames", "sectionName", "extensionRef"} {
		if strings.Contains(string(schema), `"`+word+`"`) {
			t.Errorf("%s is not served and is in the schema", word)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	in, err := os.ReadFile("testdata/mesh.yaml")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		Parse("mesh.yaml", in)
	}
}
