package manifest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	serviceHead = "apiVersion: tulle/v1\nkind: Service\nmetadata: {name: voting}\n"
	routeHead   = "apiVersion: tulle/v1\nkind: GRPCRoute\nmetadata: {name: r}\n"
)

func spec(s string) string { return serviceHead + "spec:\n  " + s + "\n" }

// rule is a route of one rule with the given field; its line is 8.
func rule(s string) string {
	return routeHead + "spec:\n  parentRefs: [{kind: Service, name: voting}]\n  rules:\n  - backendRefs: [{name: voting}]\n    " + s + "\n"
}

// A refusal is an input without one good object, and what is said of it.
type refusal struct {
	name string
	yaml string
	want []string
}

var refused = []refusal{
	// Not YAML, or YAML that has no place here.
	{"bytes that are not UTF-8", "kind: \xff", []string{"f:1:7 : is not UTF-8"}},
	{"a control character", "a: b\nc: \x00", []string{"f:2:4 : is the control character U+0000: remove it"}},
	{"brackets that stay open", "a: [b", []string{"f:1:4 : is no YAML: sequence end token ']' not found"}},
	{"quotes that stay open", "a: \"b\nc: d\n", []string{"f:1:4 : is no YAML: could not find end character of double-quoted text"}},
	{"a tab as indentation", "a:\n  b: c\n\td: e\n", []string{"f:3:1 : is no YAML"}},
	{"two values on a line", "a: b: c", []string{"f:1:4 : is no YAML: mapping value is not allowed in this context"}},
	{"an anchor", "a: &x b", []string{"f:1:4 : anchors, aliases and merge keys (&, *, <<) are not read"}},
	{"an alias", "a: *x", []string{"f:1:4 : anchors, aliases"}},
	{"a merge key", "a: {<<: {b: c}}", []string{"f:1:5 : anchors, aliases"}},
	{"an alias bomb", bomb(), []string{"f:1:5 : anchors, aliases"}},
	{"a tag", "a: !!str b", []string{"f:1:4 : tags (!) are not read"}},
	{
		"a directive",
		"%YAML 1.2\n---\nkind: Service\n",
		[]string{"f:1:1 : directives (%) are not read", "f:3:1 apiVersion: is missing", "f:3:1 metadata: is missing"},
	},
	{"a key after a question mark", "? a\n: b\n", []string{"f:1:1 : keys after a question mark are not read"}},
	{"a list as key", "[a]: b\n", []string{"f:1:4 : a key must stand before the colon"}},
	{"a key without a value", serviceHead + "spec:\n", []string{"f:4:1 : spec has no value: give one, or remove the key"}},
	{"a key without a value before another", "a:\nb: c\n", []string{"f:1:1 : a has no value"}},
	{"a key in braces without a value", "a: {b, c: d}", []string{"f:1:5 : the key has no value: write key: value"}},
	{"a key in braces with a colon and no value", "a: {b: , c: d}", []string{"f:1:6 : the key has no value"}},
	{"a dash without a value", "a:\n-\n- b\n", []string{"f:2:1 : the entry has no value"}},
	{"commas with nothing between", "a: [b,,c]", []string{"f:1:7 : nothing stands before the comma"}},
	{
		"nesting in brackets",
		"a: " + strings.Repeat("[", 40) + strings.Repeat("]", 40),
		[]string{"f:1:35 : is nested deeper than 32 levels"},
	},
	{"nesting by dashes", strings.Repeat("- ", 10_000) + "a", []string{"f:1:65 : is nested deeper than 32 levels"}},
	{"nesting by indentation", staircase(200), []string{"f:33:34 : is nested deeper than 32 levels"}},
	{"a mapping with many keys", keys(300), []string{"f:257:5 : the mapping has more than 256 keys"}},
	{"text instead of a mapping", "hello\n", []string{"f:1:1 : is no mapping"}},
	{"a list instead of a mapping", "- a\n", []string{"f:1:1 : is no mapping"}},

	// The head.
	{"no kind", "apiVersion: tulle/v1\n", []string{"f:1:1 kind: is missing: write kind: AccessPolicy or kind: GRPCRoute"}},
	{"a kind with a slip", "kind: GRPCRout\n", []string{`f:1:7 kind: unknown kind "GRPCRout": did you mean GRPCRoute?`}},
	{"a kind nobody knows", "kind: Banana\n", []string{`f:1:7 kind: unknown kind "Banana": the kinds are AccessPolicy, GRPCRoute, Mesh, Service`}},
	{
		"Istio's policy", "kind: AuthorizationPolicy\n",
		[]string{"f:1:7 kind: kind AuthorizationPolicy is not served by this version: write it as an AccessPolicy"},
	},
	{"an HTTPRoute", "kind: HTTPRoute\n", []string{"kind HTTPRoute is not served by this version: the mesh carries gRPC only"}},
	{
		"Kubernetes' Service",
		"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: None}\n",
		[]string{"f:1:13 apiVersion: v1 is Kubernetes' own Service"},
	},
	{"no apiVersion", "kind: Service\nmetadata: {name: a}\n", []string{"f:1:1 apiVersion: is missing: write apiVersion: tulle/v1"}},
	{
		"an apiVersion of the future",
		"apiVersion: tulle/v2\nkind: Service\nmetadata: {name: a}\n",
		[]string{`f:1:13 apiVersion: "tulle/v2" is not allowed: write tulle/v1`},
	},
	{"no name", "apiVersion: tulle/v1\nkind: Service\nmetadata: {}\n", []string{"f:3:11 metadata.name: is missing: write name: NAME"}},
	{
		"an empty name",
		"apiVersion: tulle/v1\nkind: Service\nmetadata: {name: \"\", namespace: ''}\n",
		[]string{"metadata.name: is empty", "metadata.namespace: is empty"},
	},
	{
		"a number as name",
		"apiVersion: tulle/v1\nkind: Service\nmetadata: {name: 12}\n",
		[]string{`f:3:18 metadata.name: must be text, not a number: write "12"`},
	},
	{"no spec of a route", routeHead, []string{"f:1:1 spec: is missing: write spec: {parentRefs: [...], rules: [...]}"}},

	// Services.
	{"an unknown field", spec("timeuot: 1s"), []string{`f:5:3 spec.timeuot: unknown field "timeuot": did you mean timeout?`}},
	{
		"an unknown field that resembles none",
		spec("color: red"),
		[]string{`f:5:3 spec.color: unknown field "color": the fields here are timeout, idleTimeout, hopCost, retry,`},
	},
	{"a field in the wrong letter case", spec("Timeout: 1s"), []string{"did you mean timeout?"}},
	{
		"a key that is there twice",
		spec("timeout: 1s\n  timeout: 2s"),
		[]string{"f:6:3 spec.timeout: is written twice, the first time in line 5"},
	},
	{
		"a number as duration",
		spec("timeout: 5"),
		[]string{"f:5:12 spec.timeout: must be a duration with its unit, as in 300ms or 2s, not a number"},
	},
	{"a duration without unit", spec(`timeout: "5"`), []string{`f:5:12 spec.timeout: "5" is no duration`}},
	{"a negative duration", spec("timeout: -5s"), []string{`"-5s" is no duration`}},
	{"a duration that overflows", spec("timeout: 9999999999999h"), []string{"is no duration"}},
	{"a duration that is too fine", spec("timeout: 0.1ms"), []string{`"0.1ms" is finer than a millisecond`}},
	{"text as number", spec("maxRequests: many"), []string{"f:5:16 spec.maxRequests: must be a whole number, not text"}},
	{"a fraction as whole number", spec("maxRequests: 1.5"), []string{"must be a whole number, not a fraction"}},
	{
		"a number out of range",
		spec("maxRequests: 0"),
		[]string{"f:5:16 spec.maxRequests: 0 is out of range: write a whole number from 1 to 4294967295"},
	},
	{"a number far out of range", spec("maxRequests: 99999999999999999999"), []string{"spec.maxRequests: "}},
	{"a mapping as list", spec("endpoints: {address: a}"), []string{"f:5:14 spec.endpoints: must be a list, not a mapping"}},
	{"text as mapping", serviceHead + "spec: yes\n", []string{"f:4:7 spec: must be a mapping, not text"}},
	{
		"true as text",
		spec("endpoints: [{address: true}]"),
		[]string{"has no address", `spec.endpoints[0].address: must be text, not true or false: write "true"`},
	},
	{"null as a value", spec("timeout: null"), []string{"f:5:12 spec.timeout: has no value"}},
	{"an endpoint without address", spec("endpoints: [{zone: a}]"), []string{"f:5:15 spec.endpoints[0]: has no address"}},
	{"an endpoint with no addresses", spec("endpoints: [{addresses: []}]"), []string{"spec.endpoints[0].addresses: has no address"}},
	{
		"an endpoint with a host name",
		spec("endpoints: [{address: voting:80}]"),
		[]string{`f:5:25 spec.endpoints[0].address: address "voting:80" is not an IP address`},
	},
	{"address and addresses", spec("endpoints: [{address: '10.0.0.1:80', addresses: ['10.0.0.2:80']}]"), []string{"are both there"}},
	{"limits", spec("limits: {}"), []string{"limits is not served by this version: write rateLimit for what each client sends"}},

	// Routes.
	{
		"a parent without kind",
		routeHead + "spec:\n  parentRefs: [{name: v}]\n  rules: [{backendRefs: [{name: v}]}]\n",
		[]string{"f:5:16 spec.parentRefs[0].kind: is missing: write kind: Service"},
	},
	{
		"a gateway as parent",
		routeHead + "spec:\n  parentRefs: [{kind: Gateway, name: v}]\n  rules: [{backendRefs: [{name: v}]}]\n",
		[]string{`spec.parentRefs[0].kind: "Gateway" is not allowed: write Service`},
	},
	{
		"a section name",
		routeHead + "spec:\n  parentRefs: [{kind: Service, name: v, sectionName: a}]\n  rules: [{backendRefs: [{name: v}]}]\n",
		[]string{"sectionName is not served by this version"},
	},
	{"host names", rule("") + "  hostnames: [a.b]\n", []string{"f:9:3 spec.hostnames: hostnames is not served by this version"}},
	{
		"no backends",
		routeHead + "spec:\n  parentRefs: [{kind: Service, name: v}]\n  rules: [{}]\n",
		[]string{"spec.rules[0].backendRefs: is missing: write backendRefs: [{name: NAME}]"},
	},
	{"session persistence", rule("sessionPersistence: {}"), []string{"sessionPersistence is not served by this version"}},
	{
		"a backend's timeout",
		rule("timeouts: {backendRequest: 1s}"),
		[]string{
			"f:8:16 spec.rules[0].timeouts.backendRequest: backendRequest is not served by this version: write retry.perTryTimeout",
		},
	},
	{
		"a match type nobody knows",
		rule("matches: [{method: {type: Prefix, service: a}}]"),
		[]string{`spec.rules[0].matches[0].method.type: "Prefix" is not allowed: write Exact or RegularExpression`},
	},
	{
		"an empty method",
		rule("matches: [{method: {}}]"),
		[]string{"f:8:24 spec.rules[0].matches[0].method: has neither service nor method"},
	},
	{
		"a header without value",
		rule("matches: [{headers: [{name: a}]}]"),
		[]string{"spec.rules[0].matches[0].headers[0].value: is missing: write value: VALUE"},
	},
	{
		"a negative weight",
		routeHead + "spec:\n  parentRefs: [{kind: Service, name: v}]\n  rules: [{backendRefs: [{name: v, weight: -1}]}]\n",
		[]string{"spec.rules[0].backendRefs[0].weight: -1 is out of range"},
	},
	{
		"an empty version",
		routeHead + "spec:\n  parentRefs: [{kind: Service, name: v}]\n  rules: [{backendRefs: [{name: v, version: ''}]}]\n",
		[]string{"version: version is empty"},
	},
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range slices.Concat(refused, refusedTraffic) {
		t.Run(tt.name, func(t *testing.T) {
			objects, problems := Parse("f", []byte(tt.yaml))
			if len(objects) != 0 {
				t.Errorf("got objects: %+v", objects)
			}
			want := make([]string, 0, len(tt.want))
			for _, w := range tt.want {
				want = append(want, "error ... "+w)
			}
			wantProblems(t, problems, want...)
		})
	}
}

func TestParseRefusesWhatIsTooMuchAtOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		size int
		in   func(int) string
		want string
	}{
		"50 MB": {50_000_000, func(n int) string { return strings.Repeat("a: b\n", n/5) }, "f : is 47.7 MiB, 4 MiB is the " +
			"most: split it"},
		"a large document": {1 << 20, func(n int) string { return "a: " + strings.Repeat("x", n) }, "f:1:1 : the document is 1024 KiB, " +
			"512 KiB is the most"},
		"many words": {200_000, func(n int) string { return "a: [" + strings.Repeat("b,", n/2) + "]" }, "f:1:1 : the document has " +
			"more than 150000 words"},
		"many documents": {30_000, func(n int) string { return strings.Repeat("---\na\n", n) }, "f:202 : is not read any more"},
	} {
		t.Run(name, func(t *testing.T) {
			objects, problems := Parse("f", []byte(tt.in(tt.size)))
			if len(objects) != 0 || len(problems) == 0 {
				t.Fatalf("got %d objects, %d problems", len(objects), len(problems))
			}
			wantProblems(t, problems[len(problems)-1:], "error ... "+tt.want)
		})
	}
}

// TestParseTakesHostileInputInItsStride gives the parser what it is slow at: eight
// times as much of it may take about eight times as long, and not 64 times.
func TestParseTakesHostileInputInItsStride(t *testing.T) {
	const size = 64 << 10
	small, large := hostile(size/8), hostile(size)
	for name, in := range large {
		t.Run(name, func(t *testing.T) {
			long := fastest(in)
			if long < 300*time.Millisecond {
				return
			}
			if short := fastest(small[name]); long > 24*short {
				t.Errorf("%d bytes took %v, %d bytes %v", len(small[name]), short, len(in), long)
			}
		})
	}
}

// fastest is the shortest of three times: other work on the machine only adds.
func fastest(in string) time.Duration {
	best := time.Hour
	for range 3 {
		start := time.Now()
		Parse("f", []byte(in))
		if best = min(best, time.Since(start)); best < 300*time.Millisecond {
			break
		}
	}
	return best
}

// hostile are inputs of about n bytes.
func hostile(n int) map[string]string {
	return map[string]string{
		"commas":            "a: [" + strings.Repeat(",", n) + "]",
		"empty keys":        "a: {" + strings.Repeat("a,", n/2) + "}",
		"empty values":      strings.Repeat("a:\n", n/3),
		"empty dashes":      strings.Repeat("-\n", n/2),
		"keys":              keys(n / 10),
		"keys in braces":    "a: {" + strings.Repeat("a: b, ", n/6) + "}",
		"numbers":           "a: [" + strings.Repeat("1,", n/2) + "]",
		"dashes":            strings.Repeat("- x\n", n/4),
		"dashes in a line":  strings.Repeat("- ", n/2),
		"colons":            strings.Repeat(":", n),
		"colons and spaces": strings.Repeat(": ", n/2),
		"brackets":          strings.Repeat("[", n),
		"pairs of brackets": "a: [" + strings.Repeat("[],", n/3) + "]",
		"braces":            strings.Repeat("{", n),
		"nested keys":       "a: " + strings.Repeat("{a: ", n/4),
		"quotes":            "a: " + strings.Repeat("\"\"", n/2),
		"open quotes":       strings.Repeat("\"\n", n/2),
		"escapes":           "a: \"" + strings.Repeat("\\x41", n/4) + "\"",
		"comments":          strings.Repeat("#\n", n/2) + "a: b",
		"comments in lists": "a:\n" + strings.Repeat("- b #\n#\n", n/8),
		"bars":              strings.Repeat("|\n", n/2),
		"block scalars":     strings.Repeat("- |\n x\n", n/7),
		"exclamation marks": "a: " + strings.Repeat("!", n),
		"question marks":    strings.Repeat("? ", n/2),
		"percent signs":     strings.Repeat("%\n", n/2),
		"stars":             strings.Repeat("*a ", n/3),
		"spaces":            "a: " + strings.Repeat(" ", n) + "b",
		"blank lines":       "a: b" + strings.Repeat("\n", n),
		"plain lines":       "a: " + strings.Repeat("b\n ", n/3),
		"staircase":         staircase(1000),
		"documents":         strings.Repeat("---\na: b\n", n/9),
		"unknown fields":    serviceHead + "spec: {endpoints: [" + strings.Repeat("{a: b},", n/7) + "]}",
	}
}

func TestParseReadsAsManyServicesAsItSays(t *testing.T) {
	var b strings.Builder
	for i := range maxDocuments {
		fmt.Fprintf(&b, "---\napiVersion: tulle/v1\nkind: Service\nmetadata: {name: s%d}\nspec: {timeout: 2s}\n", i)
	}
	objects, problems := Parse("f", []byte(b.String()+"---\n"+serviceHead))
	if len(objects) != maxDocuments {
		t.Errorf("got %d objects", len(objects))
	}
	wantProblems(t, problems, "error f:100002 : is document 20001, 20000 is the most: split the file")
}

// bomb is the billion laughs: ten lines that stand for ten billion words.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n")
	for i := range 9 {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	return b.String()
}

func staircase(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	b.WriteString(strings.Repeat(" ", n) + "b\n")
	return b.String()
}

func keys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: v\n", i)
	}
	return b.String()
}
